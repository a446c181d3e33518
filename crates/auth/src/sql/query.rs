//! A query with places for what a client says of itself, each of which becomes a bound parameter.

use crate::lookup::Question;

/// What a query can ask with.
const PLACES: [(&str, Place); 4] = [
    ("{username}", Place::UserName),
    ("{clientId}", Place::ClientId),
    ("{address}", Place::Address),
    ("{listener}", Place::Listener),
];

/// Bytes of a query. A longer one is refused.
const QUERY_BYTES_MAX: usize = 64 * 1_024;

/// A query about one client, such as `SELECT password_hash, tenant, roles FROM users WHERE name = {username}`.
///
/// `{username}`, `{clientId}`, `{address}` and `{listener}` stand for what is known of the client. They become parameters of a
/// prepared query: what a client sends is never a part of the statement, whatever it is. `{address}` is NULL for a client of
/// a Unix socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// The pieces of text, each with the place that follows it.
    pieces: Vec<(String, Place)>,
    end: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    UserName,
    ClientId,
    Address,
    Listener,
}

/// Why a text is no query about a client.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidQuery {
    /// It says nothing of the user.
    #[error("the query has no {{username}}: it would give the same answer about everybody")]
    NoUserName,
    /// A place stands between quotation marks, where it would be text and no parameter.
    #[error(
        "a place such as {{username}} stands without quotation marks: it is a parameter and no text"
    )]
    Quoted,
    /// It is longer than any query.
    #[error("the query has more than {QUERY_BYTES_MAX} bytes")]
    TooLong,
}

/// How a database writes parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each belongs to a database")
)]
pub(super) enum Dialect {
    /// `$1`, `$2`: each place has one number however often it stands there.
    Dollar,
    /// `?1`, `?2`: likewise.
    Numbered,
    /// `?`: each is one more.
    Positional,
}

/// A query as a database reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Statement {
    pub(super) text: String,
    /// What is bound, in the order of the parameters.
    pub(super) places: Vec<Place>,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// [`InvalidQuery`] when it says nothing of the user, or has a place between quotation marks.
    pub fn parse(text: &str) -> Result<Self, InvalidQuery> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(InvalidQuery::TooLong);
        }
        let mut query = Self { pieces: Vec::new(), end: String::new() };
        let mut quote = None;
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let place = PLACES.iter().find(|(name, _)| rest.starts_with(name));
            if let Some((name, place)) = place {
                if quote.is_some() {
                    return Err(InvalidQuery::Quoted);
                }
                query.pieces.push((std::mem::take(&mut query.end), *place));
                rest = rest.get(name.len()..).unwrap_or_default();
                continue;
            }
            if matches!(letter, '\'' | '"' | '`') {
                match quote {
                    None => quote = Some(letter),
                    Some(open) if open == letter => quote = None,
                    Some(_) => {}
                }
            }
            query.end.push(letter);
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
        if !query.pieces.iter().any(|(_, place)| *place == Place::UserName) {
            return Err(InvalidQuery::NoUserName);
        }
        Ok(query)
    }

    /// Whether the answer depends on more than the user's name.
    #[must_use]
    pub fn is_about_connection(&self) -> bool {
        self.pieces.iter().any(|(_, place)| *place != Place::UserName)
    }

    pub(super) fn statement(&self, dialect: Dialect) -> Statement {
        let mut statement = Statement { text: String::new(), places: Vec::new() };
        for (text, place) in &self.pieces {
            statement.text.push_str(text);
            let known = statement.places.iter().position(|known| known == place);
            let number = match known.filter(|_| dialect != Dialect::Positional) {
                Some(index) => index + 1,
                None => {
                    statement.places.push(*place);
                    statement.places.len()
                }
            };
            statement.text.push_str(&match dialect {
                Dialect::Dollar => format!("${number}"),
                Dialect::Numbered => format!("?{number}"),
                Dialect::Positional => "?".to_owned(),
            });
        }
        statement.text.push_str(&self.end);
        statement
    }
}

impl Place {
    pub(super) fn value(self, question: &Question) -> Option<String> {
        match self {
            Self::UserName => Some(question.user_name.clone()),
            Self::ClientId => Some(question.client_id.clone()),
            Self::Address => question.address.map(|address| address.to_string()),
            Self::Listener => Some(question.listener.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_parameters() {
        let text = "SELECT password_hash FROM u WHERE name = {username} AND {address}::inet <<= net \
                    OR alias = {username} AND note <> 'it''s {x}' -- {username}";
        let query = Query::parse(text).expect("legal");
        assert!(query.is_about_connection());
        let tail = |one: &str, two: &str, three: &str, four: &str| {
            format!(
                "SELECT password_hash FROM u WHERE name = {one} AND {two}::inet <<= net \
                 OR alias = {three} AND note <> 'it''s {{x}}' -- {four}"
            )
        };
        let numbered = vec![Place::UserName, Place::Address];
        let cases = [
            (Dialect::Dollar, tail("$1", "$2", "$1", "$1"), numbered.clone()),
            (Dialect::Numbered, tail("?1", "?2", "?1", "?1"), numbered),
            (
                Dialect::Positional,
                tail("?", "?", "?", "?"),
                vec![Place::UserName, Place::Address, Place::UserName, Place::UserName],
            ),
        ];
        for (dialect, text, places) in cases {
            assert_eq!(query.statement(dialect), Statement { text, places });
        }
    }

    #[test]
    fn what_is_no_query_about_a_user_is_refused() {
        for (text, expected) in [
            ("", InvalidQuery::NoUserName),
            ("SELECT password_hash FROM u WHERE id = {clientId}", InvalidQuery::NoUserName),
            ("SELECT password_hash FROM u WHERE name = '{username}'", InvalidQuery::Quoted),
            ("SELECT password_hash FROM u WHERE name LIKE '%{username}%'", InvalidQuery::Quoted),
            ("SELECT password_hash FROM \"u{username}\"", InvalidQuery::Quoted),
        ] {
            assert_eq!(Query::parse(text), Err(expected), "{text}");
        }
        let long = format!("{{username}}{}", " ".repeat(QUERY_BYTES_MAX));
        assert_eq!(Query::parse(&long), Err(InvalidQuery::TooLong));
        assert!(!Query::parse("{username}").expect("legal").is_about_connection());
    }
}
