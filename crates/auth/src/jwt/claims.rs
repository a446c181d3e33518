//! What a token says once its signature is known to be right: for whom, from when to when, and who that is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::rejection::Rejection;

/// Claims of a token. One with more is refused.
pub const CLAIMS_MAX: usize = 64;
/// Bytes of a claim that becomes a user, a tenant, a role or an attribute. A longer one is refused, never cut.
pub const CLAIM_BYTES_MAX: usize = 1_024;
/// Roles of a token. One with more is refused.
pub const ROLES_MAX: usize = 64;
/// The furthest end of a token that is kept: a later one counts as this, ten years from now.
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Which claims become what. A claim of an object within is named by its path, such as `realm_access.roles`; a claim whose own
/// name has dots goes first.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimNames {
    /// The claim that becomes the user. A token without it is refused.
    pub user: String,
    /// The claim that becomes the tenant. A token without it is refused. None: the token says nothing of a tenant.
    pub tenant: Option<String>,
    /// The claim that lists the roles: a list of texts, or one text in which blanks part them, as `scope` has it. A token
    /// without it has no roles.
    pub roles: Option<String>,
    /// Claims that become attributes, each with the attribute's name. A claim that is not there gives none. Numbers and
    /// truth values are written as JSON writes them; of a list its items stand with a blank between them.
    pub attributes: Vec<(String, String)>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { user: "sub".to_owned(), tenant: None, roles: None, attributes: Vec::new() }
    }
}

/// What a token has to say to be taken.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimRules {
    /// The issuers that are taken (`iss`). Empty: any, also none.
    pub issuers: Vec<String>,
    /// The audiences of which a token has to name one (`aud`). Empty: `aud` is not looked at.
    pub audiences: Vec<String>,
    /// By how much the clocks of issuer and broker may differ: `exp` and `nbf` count as that much later and earlier.
    pub leeway: Duration,
    /// Whether a token without `exp` is taken. Its connection lasts until somebody closes it.
    pub allow_without_expiry: bool,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            allow_without_expiry: false,
        }
    }
}

/// Who the bearer of a token is, until when.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bearer {
    /// The user.
    pub user: String,
    /// The tenant, if tokens say it.
    pub tenant: Option<String>,
    /// The roles.
    pub roles: Vec<String>,
    /// The claims that become attributes, by their attributes' names.
    pub attributes: Vec<(String, String)>,
    /// How long the token is still taken, the leeway included.
    pub lasts: Option<Duration>,
}

pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Rejection> {
        let claims: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| Rejection::Claims)?;
        if claims.len() > CLAIMS_MAX {
            return Err(Rejection::Claims);
        }
        Ok(Self(claims))
    }

    /// Whether the issuer is one of those that are taken.
    pub(super) fn is_from(&self, issuers: &[String]) -> bool {
        let issuer = self.0.get("iss").and_then(Value::as_str);
        issuers.is_empty() || issuer.is_some_and(|issuer| issuers.iter().any(|one| one == issuer))
    }

    pub(super) fn judge(
        &self,
        rules: &ClaimRules,
        names: &ClaimNames,
        now: SystemTime,
    ) -> Result<Bearer, Rejection> {
        if !self.is_from(&rules.issuers) {
            return Err(Rejection::Issuer);
        }
        if !rules.audiences.is_empty() && !self.is_for(&rules.audiences) {
            return Err(Rejection::Audience);
        }
        let lasts = self.lasts(rules, now)?;
        let user = self.text(&names.user)?.ok_or(Rejection::ClaimMissing)?;
        let tenant = match &names.tenant {
            Some(name) => Some(self.text(name)?.ok_or(Rejection::ClaimMissing)?),
            None => None,
        };
        let roles = match &names.roles {
            Some(name) => self.roles(name)?,
            None => Vec::new(),
        };
        let mut attributes = Vec::new();
        for (claim, attribute) in &names.attributes {
            if let Some(value) = self.find(claim).filter(|value| !value.is_null()) {
                attributes.push((attribute.clone(), bounded(written(value)?)?));
            }
        }
        Ok(Bearer { user, tenant, roles, attributes, lasts })
    }

    fn is_for(&self, audiences: &[String]) -> bool {
        let is_ours = |value: &Value| {
            value.as_str().is_some_and(|named| audiences.iter().any(|audience| audience == named))
        };
        match self.0.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        }
    }

    /// How long the token is still taken.
    fn lasts(&self, rules: &ClaimRules, now: SystemTime) -> Result<Option<Duration>, Rejection> {
        // Before 1970 no clock of a broker stands; what it shows then is the beginning of that year.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(not_before) = self.time("nbf")?
            && not_before > now.saturating_add(rules.leeway)
        {
            return Err(Rejection::NotYetValid);
        }
        match self.time("exp")? {
            Some(end) => {
                let end = end.saturating_add(rules.leeway);
                let left = end.checked_sub(now).filter(|left| !left.is_zero());
                Ok(Some(left.ok_or(Rejection::Expired)?.min(LIFE_MAX)))
            }
            None if rules.allow_without_expiry => Ok(None),
            None => Err(Rejection::NoExpiry),
        }
    }

    /// A time in seconds since 1970, with or without a fraction.
    fn time(&self, name: &str) -> Result<Option<Duration>, Rejection> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        if let Some(seconds) = value.as_u64() {
            return Ok(Some(Duration::from_secs(seconds)));
        }
        let seconds = value.as_f64().ok_or(Rejection::Claims)?;
        // Negative times lie before all others, and those that no number holds behind.
        Ok(Some(if seconds <= 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        }))
    }

    fn roles(&self, name: &str) -> Result<Vec<String>, Rejection> {
        let mut roles = match self.find(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(roles)) => roles.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(roles)) => roles
                .iter()
                .map(|role| role.as_str().map(str::to_owned).ok_or(Rejection::Claims))
                .collect::<Result<Vec<_>, _>>()?,
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                return Err(Rejection::Claims);
            }
        };
        roles.sort_unstable();
        roles.dedup();
        if roles.len() > ROLES_MAX || roles.iter().any(|role| role.len() > CLAIM_BYTES_MAX) {
            return Err(Rejection::Claims);
        }
        roles.retain(|role| !role.is_empty());
        Ok(roles)
    }

    /// The claim as a text that is not empty.
    fn text(&self, name: &str) -> Result<Option<String>, Rejection> {
        match self.find(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => bounded(text.clone()).map(Some),
            Some(number @ Value::Number(_)) => Ok(Some(number.to_string())),
            Some(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Rejection::Claims)
            }
        }
    }

    fn find(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }
}

/// A claim as an attribute's text.
fn written(value: &Value) -> Result<String, Rejection> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(items) if !items.iter().any(|item| item.is_array() || item.is_object()) => {
            let items: Result<Vec<_>, _> = items.iter().map(written).collect();
            Ok(items?.join(" "))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Rejection::Claims),
    }
}

fn bounded(text: String) -> Result<String, Rejection> {
    if text.len() > CLAIM_BYTES_MAX || text.contains('\0') {
        return Err(Rejection::Claims);
    }
    Ok(text)
}
