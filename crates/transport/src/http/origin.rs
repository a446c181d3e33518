//! Pages that may connect.

use std::fmt;
use std::str::FromStr;

/// The origin of pages, as browsers write it: `https://app.example`, `http://localhost:8080`, or `null` for a page that
/// has none, such as a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(Box<str>);

/// Text that is no [`Origin`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an origin such as https://app.example or http://localhost:8080, without a path")]
pub struct InvalidOrigin;

/// Which pages may connect.
///
/// A browser lets every page open a WebSocket to every address that it reaches, the user's own machine included, and
/// names the page in the field `Origin`, which the page cannot change. Other programs send no such field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AllowedOrigins {
    /// All pages: for listeners where whoever connects has to prove who he is.
    Any,
    /// The pages of these origins.
    These(Vec<Origin>),
}

impl AllowedOrigins {
    /// No pages.
    #[must_use]
    pub const fn none() -> Self {
        Self::These(Vec::new())
    }

    /// Whether pages of this origin may connect.
    #[must_use]
    pub fn contains(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => {
                origins.iter().any(|one| one.0.as_bytes().eq_ignore_ascii_case(origin))
            }
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Takes away what browsers leave out: capital letters, the scheme's own port, a slash at the end.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Ok(Self(text.into()));
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
        let is_authority = !authority.is_empty()
            && authority.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~:[]%".contains(&c));
        if !is_scheme || !is_authority {
            return Err(InvalidOrigin);
        }
        let own_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let authority = authority.strip_suffix(own_port).unwrap_or(authority);
        Ok(Self(format!("{scheme}://{authority}").into()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let cases = [
            ("https://app.example", Ok("https://app.example")),
            ("HTTPS://App.Example:443/", Ok("https://app.example")),
            ("http://app.example:443", Ok("http://app.example:443")),
            ("http://localhost:80", Ok("http://localhost")),
            ("http://[::1]:8080", Ok("http://[::1]:8080")),
            ("chrome-extension://abcdefgh", Ok("chrome-extension://abcdefgh")),
            ("null", Ok("null")),
            ("", Err(InvalidOrigin)),
            ("*", Err(InvalidOrigin)),
            ("app.example", Err(InvalidOrigin)),
            ("https://", Err(InvalidOrigin)),
            ("https:///", Err(InvalidOrigin)),
            ("://app.example", Err(InvalidOrigin)),
            ("https://app.example/page", Err(InvalidOrigin)),
            ("https://*.example", Err(InvalidOrigin)),
            ("https://user@app.example", Err(InvalidOrigin)),
        ];
        for (text, expected) in cases {
            let read = text.parse().map(|origin: Origin| origin.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn only_the_same_origin_is_allowed() {
        let these = AllowedOrigins::These(vec!["https://app.example".parse().unwrap()]);
        assert!(these.contains(b"https://app.example"));
        for other in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.example",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!these.contains(other.as_bytes()), "{other}");
            assert!(!AllowedOrigins::none().contains(other.as_bytes()), "{other}");
            assert!(AllowedOrigins::Any.contains(other.as_bytes()), "{other}");
        }
    }
}
