//! One user of a file, and how a line writes it.

use std::fmt;

use crate::hash::{InvalidHash, PasswordHash};
use crate::scram::{InvalidVerifier, Verifier};

/// Bytes of a line. A longer one is refused.
pub const LINE_BYTES_MAX: usize = 16 * 1_024;
/// Roles of one user. A line with more is refused.
pub const ROLES_MAX: usize = 256;
/// Attributes of one user. A line with more is refused.
pub const ATTRIBUTES_MAX: usize = 256;

/// A user as a file of users knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    name: String,
    /// What is kept of its password.
    pub password: PasswordHash,
    /// What SCRAM needs instead; none: it cannot use SCRAM.
    pub scram: Option<Verifier>,
    /// The tenant that it belongs to; none: as the listener says.
    pub tenant: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// What else is known of it, by name.
    pub attributes: Vec<(String, String)>,
}

/// Why a line says no user.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidUser {
    /// The line is longer than [`LINE_BYTES_MAX`].
    #[error("has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// There is no colon.
    #[error("must be NAME:HASH")]
    NoHash,
    /// The name is empty, holds `:` or a control character, or begins with what no name may begin with.
    #[error(
        "a user's name may not be empty, hold `:` or a control character, or begin with `#` or `!`"
    )]
    Name,
    /// The hash is none.
    #[error("the hash {0}")]
    Hash(#[from] InvalidHash),
    /// The verifier is none.
    #[error("the field scram {0}")]
    Scram(#[from] InvalidVerifier),
    /// A field is none of those that are known.
    #[error("knows the fields tenant, role, scram and attr.NAME, written NAME=VALUE")]
    Field,
    /// A field that there can be one of is there twice.
    #[error("says a field twice that there can be one of")]
    Twice,
    /// A value holds `%` without two hexadecimal digits, or what is no UTF-8.
    #[error("holds a value that is not percent-encoded as it should be")]
    Encoding,
    /// There are more than [`ROLES_MAX`] roles or [`ATTRIBUTES_MAX`] attributes.
    #[error("has more than {ROLES_MAX} roles or {ATTRIBUTES_MAX} attributes")]
    TooMany,
}

impl User {
    /// A user with nothing but a name: it has no password, no roles and no tenant yet.
    ///
    /// # Errors
    ///
    /// [`InvalidUser::Name`] when a line cannot hold the name.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidUser> {
        let name = name.into();
        let holds = |letter: char| letter == ':' || letter.is_control();
        if name.is_empty() || name.starts_with(['#', '!']) || name.contains(holds) {
            return Err(InvalidUser::Name);
        }
        let (roles, attributes) = (Vec::new(), Vec::new());
        let password = PasswordHash::LOCKED;
        Ok(Self { name, password, scram: None, tenant: None, roles, attributes })
    }

    /// The name, as the client gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads `NAME:HASH` with fields behind further colons.
    pub(crate) fn parse(line: &str) -> Result<Self, InvalidUser> {
        if line.len() > LINE_BYTES_MAX {
            return Err(InvalidUser::TooLong);
        }
        let (name, rest) = line.split_once(':').ok_or(InvalidUser::NoHash)?;
        let mut user = Self::new(name)?;
        let mut fields = rest.split(':');
        user.password = fields.next().unwrap_or_default().parse()?;
        for field in fields {
            user.read_field(field)?;
        }
        Ok(user)
    }

    fn read_field(&mut self, field: &str) -> Result<(), InvalidUser> {
        let (key, value) = field.split_once('=').ok_or(InvalidUser::Field)?;
        let value = decode(value)?;
        if let Some(name) = key.strip_prefix("attr.") {
            let name = decode(name)?;
            if name.is_empty() {
                return Err(InvalidUser::Field);
            }
            if self.attributes.iter().any(|(other, _)| *other == name) {
                return Err(InvalidUser::Twice);
            }
            self.attributes.push((name, value));
            return bounded(self.attributes.len(), ATTRIBUTES_MAX);
        }
        match key {
            "role" | "tenant" if value.is_empty() => Err(InvalidUser::Field),
            "role" => {
                self.roles.push(value);
                bounded(self.roles.len(), ROLES_MAX)
            }
            "tenant" => set_once(&mut self.tenant, value),
            "scram" => set_once(&mut self.scram, value.parse()?),
            _ => Err(InvalidUser::Field),
        }
    }
}

fn bounded(count: usize, max: usize) -> Result<(), InvalidUser> {
    if count > max { Err(InvalidUser::TooMany) } else { Ok(()) }
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), InvalidUser> {
    if place.replace(value).is_some() { Err(InvalidUser::Twice) } else { Ok(()) }
}

impl fmt::Display for User {
    /// The line, as it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.password)?;
        if let Some(tenant) = &self.tenant {
            write!(f, ":tenant={}", Encoded(tenant))?;
        }
        for role in &self.roles {
            write!(f, ":role={}", Encoded(role))?;
        }
        for (name, value) in &self.attributes {
            write!(f, ":attr.{}={}", Encoded(name), Encoded(value))?;
        }
        match &self.scram {
            Some(verifier) => write!(f, ":scram={verifier}"),
            None => Ok(()),
        }
    }
}

/// A text in which what has a meaning in a line is `%` and two hexadecimal digits.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 4];
        for letter in self.0.chars() {
            if matches!(letter, ':' | '%' | '=') || letter.is_control() || letter.is_whitespace() {
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            } else {
                fmt::Write::write_char(f, letter)?;
            }
        }
        Ok(())
    }
}

fn decode(text: &str) -> Result<String, InvalidUser> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(InvalidUser::Encoding)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidUser::Encoding);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| InvalidUser::Encoding)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| InvalidUser::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCRAM: &str = "SCRAM-SHA-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn lines() {
        let line = format!(
            "alice:*:tenant=ssni:role=reader:role=a%3Ab:attr.site=north%20wing:attr.a%3Db=:scram={SCRAM}"
        );
        let user = User::parse(&line).expect("legal");
        let expected = User {
            name: "alice".to_owned(),
            password: PasswordHash::LOCKED,
            scram: Some(SCRAM.parse().expect("a verifier")),
            tenant: Some("ssni".to_owned()),
            roles: vec!["reader".to_owned(), "a:b".to_owned()],
            attributes: vec![
                ("site".to_owned(), "north wing".to_owned()),
                ("a=b".to_owned(), String::new()),
            ],
        };
        assert_eq!(user, expected);
        assert_eq!(user.to_string(), line);
        assert_eq!(User::parse("a b/c:*").expect("legal").name(), "a b/c");
    }

    #[test]
    fn what_is_no_user_is_refused() {
        use InvalidUser::{Encoding, Field, Hash, Name, NoHash, Scram, TooLong, TooMany, Twice};
        for (line, expected) in [
            ("", NoHash),
            ("alice", NoHash),
            (":*", Name),
            ("#alice:*", Name),
            ("!alice:*", Name),
            ("al\tice:*", Name),
            ("alice:", Hash(InvalidHash::Incomplete)),
            ("alice:secret", Hash(InvalidHash::Unknown)),
            ("alice:*:", Field),
            ("alice:*:admin", Field),
            ("alice:*:rule=x", Field),
            ("alice:*:role=", Field),
            ("alice:*:tenant=", Field),
            ("alice:*:attr.=x", Field),
            ("alice:*:tenant=a:tenant=b", Twice),
            ("alice:*:attr.a=1:attr.a=2", Twice),
            ("alice:*:scram=x", Scram(InvalidVerifier)),
            ("alice:*:role=%", Encoding),
            ("alice:*:role=%4", Encoding),
            ("alice:*:role=%+4", Encoding),
            ("alice:*:role=%zz", Encoding),
            ("alice:*:role=%C3", Encoding),
            ("alice:*:role=%\u{e9}", Encoding),
            (&format!("alice:*{}", ":role=x".repeat(257)), TooMany),
            (&format!("alice:*:role={}", "x".repeat(16_384)), TooLong),
        ] {
            assert_eq!(User::parse(line), Err(expected), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            name in "[^:#!\\p{Cc}][^:\\p{Cc}]{0,20}",
            tenant in proptest::option::of(".{1,20}"),
            roles in proptest::collection::vec("(?s).{1,9}", 0..4),
            attributes in proptest::collection::btree_map("(?s).{1,9}", "(?s).{0,9}", 0..4),
        ) {
            let mut user = User::new(name).expect("legal");
            user.tenant = tenant;
            user.roles = roles;
            user.attributes = attributes.into_iter().collect();
            let line = user.to_string();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(User::parse(&line), Ok(user));
        }

        #[test]
        fn no_line_panics(line in "(?s).{0,60}") {
            let _ = User::parse(&line);
        }
    }
}
