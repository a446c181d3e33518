//! Names and filters with places for what a client says of itself, which is escaped there.

use ldap3::{dn_escape, ldap_escape, parse_filter};

/// Bytes of a template. A longer one is refused.
const TEMPLATE_BYTES_MAX: usize = 4 * 1_024;

/// The name of an entry with places, such as `uid={username},ou=people,dc=example,dc=org`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnTemplate(Vec<Piece>);

/// A filter with places, such as `(&(objectClass=person)(uid={username}))`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilterTemplate(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    UserName,
    ClientId,
    Dn,
}

/// What stands in the places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) user_name: &'a str,
    pub(super) client_id: &'a str,
    /// The name of the user's entry.
    pub(super) dn: &'a str,
}

/// Why a text is no template.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It says nothing of the user.
    #[error("has neither {{username}} nor {{dn}}: it would mean the same for everybody")]
    NoUserName,
    /// It has `{dn}`, which is not known yet there.
    #[error("has {{dn}}, which is known where groups are searched for only")]
    Dn,
    /// It has braces around something else.
    #[error(
        "has a place that is none: there are {{username}}, {{clientId}} and, for groups, {{dn}}"
    )]
    Place,
    /// It is no filter.
    #[error("is no filter (RFC 4515): one looks as (uid={{username}})")]
    Filter,
    /// It is too long.
    #[error("has more than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
}

impl DnTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`InvalidTemplate`] when it has no `{username}`, or a place that is none.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let pieces = pieces(text)?;
        if pieces.contains(&Piece::Dn) {
            return Err(InvalidTemplate::Dn);
        }
        Ok(Self(pieces))
    }

    pub(super) fn fill(&self, places: Places<'_>) -> String {
        fill(&self.0, places, |value| dn_escape(value).into_owned())
    }

    pub(super) fn is_about_connection(&self) -> bool {
        self.0.contains(&Piece::ClientId)
    }
}

impl FilterTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`InvalidTemplate`] when it is no filter, has no `{username}`, or a place that is none.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let pieces = pieces(text)?;
        if pieces.contains(&Piece::Dn) {
            return Err(InvalidTemplate::Dn);
        }
        Self::checked(pieces)
    }

    /// Reads a template of a filter for groups, which may have `{dn}` too.
    ///
    /// # Errors
    ///
    /// As [`FilterTemplate::parse`].
    pub fn parse_for_groups(text: &str) -> Result<Self, InvalidTemplate> {
        Self::checked(pieces(text)?)
    }

    fn checked(pieces: Vec<Piece>) -> Result<Self, InvalidTemplate> {
        let template = Self(pieces);
        let filled = template.fill(Places { user_name: "a", client_id: "a", dn: "a" });
        parse_filter(filled).map_err(|_| InvalidTemplate::Filter)?;
        Ok(template)
    }

    pub(super) fn fill(&self, places: Places<'_>) -> String {
        fill(&self.0, places, |value| ldap_escape(value).into_owned())
    }

    pub(super) fn is_about_connection(&self) -> bool {
        self.0.contains(&Piece::ClientId)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, InvalidTemplate> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(InvalidTemplate::TooLong);
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}').ok_or(InvalidTemplate::Place)?;
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(match name {
            "username" => Piece::UserName,
            "clientId" => Piece::ClientId,
            "dn" => Piece::Dn,
            _ => return Err(InvalidTemplate::Place),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    if !pieces.iter().any(|piece| matches!(piece, Piece::UserName | Piece::Dn)) {
        return Err(InvalidTemplate::NoUserName);
    }
    Ok(pieces)
}

fn fill(pieces: &[Piece], places: Places<'_>, escape: impl Fn(&str) -> String) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::UserName => escape(places.user_name),
        Piece::ClientId => escape(places.client_id),
        Piece::Dn => escape(places.dn),
    };
    pieces.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(user_name: &str) -> Places<'_> {
        Places { user_name, client_id: "c", dn: "cn=(a),dc=x" }
    }

    #[test]
    fn what_a_client_sends_stays_one_value() {
        let dn = DnTemplate::parse("uid={username},ou=people").expect("legal");
        let filter =
            FilterTemplate::parse("(&(uid={username})(client={clientId}))").expect("legal");
        for (name, in_dn, in_filter) in [
            ("alice", "alice", "alice"),
            ("*)(uid=*", r"*)(uid\3d*", r"\2a\29\28uid=\2a"),
            ("a,ou=admins", r"a\2cou\3dadmins", "a,ou=admins"),
            (r"a\2c", r"a\5c2c", r"a\5c2c"),
            (" #a ", r"\20#a\20", " #a "),
            ("#a+b;<>\"", r"\23a\2bb\3b\3c\3e\22", "#a+b;<>\""),
            ("a\0b", r"a\00b", r"a\00b"),
            ("Ægir", "Ægir", "Ægir"),
        ] {
            assert_eq!(dn.fill(places(name)), format!("uid={in_dn},ou=people"), "{name:?}");
            let expected = format!("(&(uid={in_filter})(client=c))");
            assert_eq!(filter.fill(places(name)), expected, "{name:?}");
        }
        let groups = FilterTemplate::parse_for_groups("(member={dn})").expect("legal");
        assert_eq!(groups.fill(places("alice")), r"(member=cn=\28a\29,dc=x)");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, expected) in [
            ("(uid=alice)", InvalidTemplate::NoUserName),
            ("(uid={user})", InvalidTemplate::Place),
            ("(uid={username", InvalidTemplate::Place),
            ("(member={dn})", InvalidTemplate::Dn),
            ("uid={username})", InvalidTemplate::Filter),
            ("(uid={username}", InvalidTemplate::Filter),
        ] {
            assert_eq!(FilterTemplate::parse(text), Err(expected), "{text}");
        }
        assert_eq!(DnTemplate::parse("uid=alice"), Err(InvalidTemplate::NoUserName));
        assert_eq!(DnTemplate::parse("{dn}"), Err(InvalidTemplate::Dn));
        let long = format!("({{username}}={})", "a".repeat(TEMPLATE_BYTES_MAX));
        assert_eq!(FilterTemplate::parse(&long), Err(InvalidTemplate::TooLong));
    }
}
