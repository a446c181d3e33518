//! Whose rights are asked for.

/// A client as the rules see it: what it turned out to be at CONNECT.
///
/// Nothing here is taken on trust: a user name that nobody checked is no `user`, and roles and attributes are those that
/// whoever authenticated the client vouches for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Subject<'a> {
    /// The user it authenticated as; none if it is anonymous.
    pub user: Option<&'a str>,
    /// The tenant it belongs to, if there are tenants.
    pub tenant: Option<&'a str>,
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The roles it came with, in any order. The rules may give it more.
    pub roles: &'a [String],
    /// What else is known: `claims.NAME` of a token, `cert.cn` of a certificate.
    pub attributes: &'a [(String, String)],
}
