//! What the service says to a question, read strictly: a member that is not known is a failure, because a misspelt
//! `expires_in` would otherwise let a client stay for good.

use std::time::Duration;

use dunlin_broker::ReasonCode;
use serde_json::{Map, Value};

/// Roles in an answer. One with more is a failure.
pub const ROLES_MAX: usize = 64;
/// Attributes in an answer. One with more is a failure.
pub const ATTRIBUTES_MAX: usize = 64;
/// Bytes of a text in an answer. A longer one is a failure.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The longest time that a client may stay by an answer; a longer one counts as this, ten years.
const EXPIRES_MAX_SECS: u64 = 10 * 365 * 24 * 60 * 60;

/// What the service said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Accept(Accepted),
    Refuse(ReasonCode),
    PassOn,
}

/// Who a client is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Accepted {
    pub(super) user: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) expires_in: Option<Duration>,
}

/// What is wrong with an answer, without what stands in it.
pub(super) type Malformed = String;

pub(super) fn parse(json: &[u8]) -> Result<Answer, Malformed> {
    let mut members: Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
        format!("no JSON object (line {}, column {})", error.line(), error.column())
    })?;
    let result = text(&mut members, "result")?.ok_or("the member \"result\" is missing")?;
    let answer = match result.as_str() {
        "accept" => Answer::Accept(Accepted {
            user: text(&mut members, "user")?,
            tenant: text(&mut members, "tenant")?,
            roles: roles(&mut members)?,
            attributes: attributes(&mut members)?,
            expires_in: expires_in(&mut members)?,
        }),
        "refuse" => Answer::Refuse(reason_code(&mut members)?),
        "pass_on" => Answer::PassOn,
        _ => return Err("\"result\" is none of \"accept\", \"refuse\" and \"pass_on\"".to_owned()),
    };
    match members.keys().next() {
        Some(unknown) => {
            let unknown: String = unknown.chars().take(40).collect();
            Err(format!("the member {unknown:?} does not belong to {result:?}"))
        }
        None => Ok(answer),
    }
}

/// A text that is not empty, if it is there.
fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Malformed> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => checked(text, name).map(Some),
        Some(_) => Err(format!("{name:?} is no text")),
    }
}

fn checked(text: String, name: &str) -> Result<String, Malformed> {
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return Err(format!("{name:?} has more than {TEXT_BYTES_MAX} bytes, or U+0000"));
    }
    Ok(text)
}

fn roles(members: &mut Map<String, Value>) -> Result<Vec<String>, Malformed> {
    let roles = match members.remove("roles") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(roles)) if roles.len() <= ROLES_MAX => roles,
        Some(_) => return Err(format!("\"roles\" is no list of at most {ROLES_MAX} texts")),
    };
    let words = "\"roles\" has something that is no text";
    let texts = roles.iter().map(|role| role.as_str().filter(|role| !role.is_empty()));
    texts.map(|role| checked(role.ok_or(words)?.to_owned(), "roles")).collect()
}

fn attributes(members: &mut Map<String, Value>) -> Result<Vec<(String, String)>, Malformed> {
    let attributes = match members.remove("attributes") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(attributes)) if attributes.len() <= ATTRIBUTES_MAX => attributes,
        Some(_) => {
            return Err(format!("\"attributes\" is no object of at most {ATTRIBUTES_MAX} members"));
        }
    };
    let checked = |(name, value): (String, Value)| {
        let value = value.as_str().ok_or("\"attributes\" has something that is no text")?;
        Ok((checked(name, "attributes")?, checked(value.to_owned(), "attributes")?))
    };
    attributes.into_iter().map(checked).collect()
}

fn expires_in(members: &mut Map<String, Value>) -> Result<Option<Duration>, Malformed> {
    match members.remove("expires_in") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds > 0 => {
                Ok(Some(Duration::from_secs(seconds.min(EXPIRES_MAX_SECS))))
            }
            Some(_) | None => Err("\"expires_in\" is no number of seconds above 0".to_owned()),
        },
    }
}

/// One of those that a CONNACK can say to a client that is refused for what it is.
fn reason_code(members: &mut Map<String, Value>) -> Result<ReasonCode, Malformed> {
    const CODES: [ReasonCode; 7] = [
        ReasonCode::UnspecifiedError,
        ReasonCode::BadUserNameOrPassword,
        ReasonCode::NotAuthorized,
        ReasonCode::ServerUnavailable,
        ReasonCode::ServerBusy,
        ReasonCode::Banned,
        ReasonCode::QuotaExceeded,
    ];
    match members.remove("reason_code") {
        None | Some(Value::Null) => Ok(ReasonCode::BadUserNameOrPassword),
        Some(value) => {
            let code = CODES.into_iter().find(|code| value.as_u64() == Some(*code as u64));
            code.ok_or_else(|| {
                "\"reason_code\" is none of 128, 134, 135, 136, 137, 138 and 151".to_owned()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole() {
        let full = r#"{"result": "accept", "user": "alice", "tenant": "t", "roles": ["a", "b"],
                       "attributes": {"site": "oslo"}, "expires_in": 60}"#;
        let accepted = Accepted {
            user: Some("alice".to_owned()),
            tenant: Some("t".to_owned()),
            roles: vec!["a".to_owned(), "b".to_owned()],
            attributes: vec![("site".to_owned(), "oslo".to_owned())],
            expires_in: Some(Duration::from_secs(60)),
        };
        let cases = [
            (full, Answer::Accept(accepted)),
            (r#"{"result": "accept"}"#, Answer::Accept(Accepted::default())),
            (
                r#"{"result": "accept", "user": null, "roles": null}"#,
                Answer::Accept(Accepted::default()),
            ),
            (r#"{"result": "refuse"}"#, Answer::Refuse(ReasonCode::BadUserNameOrPassword)),
            (r#"{"result": "refuse", "reason_code": 138}"#, Answer::Refuse(ReasonCode::Banned)),
            (r#"{"result": "pass_on"}"#, Answer::PassOn),
        ];
        for (json, expected) in cases {
            assert_eq!(parse(json.as_bytes()), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said_without_what_stands_in_it() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let many = vec!["r"; ROLES_MAX + 1];
        let cases = [
            (String::new(), "no JSON object (line 1, column 0)"),
            ("[]".to_owned(), "no JSON object (line 1, column 0)"),
            ("{}".to_owned(), "the member \"result\" is missing"),
            (r#"{"result": 1}"#.to_owned(), "\"result\" is no text"),
            (
                r#"{"result": "ok"}"#.to_owned(),
                "\"result\" is none of \"accept\", \"refuse\" and \"pass_on\"",
            ),
            (r#"{"result": "accept", "user": ""}"#.to_owned(), "\"user\" is no text"),
            (
                format!(r#"{{"result": "accept", "user": "{long}"}}"#),
                "\"user\" has more than 1024 bytes, or U+0000",
            ),
            (
                format!(r#"{{"result": "accept", "roles": {}}}"#, serde_json::json!(many)),
                "\"roles\" is no list of at most 64 texts",
            ),
            (
                r#"{"result": "accept", "roles": [1]}"#.to_owned(),
                "\"roles\" has something that is no text",
            ),
            (
                r#"{"result": "accept", "attributes": {"a": 1}}"#.to_owned(),
                "\"attributes\" has something that is no text",
            ),
            (
                r#"{"result": "accept", "expires_in": 0}"#.to_owned(),
                "\"expires_in\" is no number of seconds above 0",
            ),
            (
                r#"{"result": "accept", "expire_in": 5}"#.to_owned(),
                "the member \"expire_in\" does not belong to \"accept\"",
            ),
            (
                r#"{"result": "refuse", "user": "alice"}"#.to_owned(),
                "the member \"user\" does not belong to \"refuse\"",
            ),
            (
                r#"{"result": "refuse", "reason_code": 0}"#.to_owned(),
                "\"reason_code\" is none of 128, 134, 135, 136, 137, 138 and 151",
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(parse(json.as_bytes()), Err(expected.to_owned()), "{json}");
        }
    }
}
