//! The step of a chain that lets clients in by their token.

use std::fmt;
use std::time::{Instant, SystemTime};

use dunlin_broker::{AuthRequest, Authenticator, BoxFuture, Decision, Identity, ReasonCode, Step};

use super::TokenRules;
use super::claims::Bearer;
use super::keys::KeySet;
use super::rejection::{Rejection, Tally};
use super::remote::RemoteKeys;
use super::token::looks_like_token;

/// What stands for a User Name that was a token.
const HIDDEN: &str = "(token)";

/// Where a client puts its token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenPlace {
    /// In the Password; the User Name is free.
    Password,
    /// In the User Name; the Password is free.
    UserName,
    /// In the Authentication Data of CONNECT or AUTH (MQTT 5.0), by an Authentication Method of this name. Only such a client
    /// can bring another token while it is connected.
    Method(String),
}

/// How tokens are taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtConfig {
    /// What they are held against.
    pub rules: TokenRules,
    /// Where they are looked for, in this order.
    pub places: Vec<TokenPlace>,
}

impl Default for JwtConfig {
    /// In the Password, and by the method `JWT`.
    fn default() -> Self {
        Self {
            rules: TokenRules::default(),
            places: vec![TokenPlace::Password, TokenPlace::Method("JWT".to_owned())],
        }
    }
}

/// Lets clients in by their token.
///
/// It passes on what is no token, and one whose `iss` is another issuer's, so that other steps may know it. A token that it
/// is meant for is accepted or refused. The connection of an accepted one ends with the token ([`Identity::expires`]),
/// leeway included.
///
/// A refused client is told 0x87 in an AUTH exchange and 0x86 otherwise, and 0x88 while there are no keys; the reason stands
/// in the log ([`Rejection`]) and is counted. No token, and no part of one, is ever logged.
pub struct JwtAuthenticator {
    config: JwtConfig,
    fixed: KeySet,
    remote: Option<RemoteKeys>,
    rejections: Tally,
}

impl JwtAuthenticator {
    /// A step that knows these keys, and those that are fetched. A token's key is looked for among the fixed ones first.
    #[must_use]
    pub fn new(config: JwtConfig, fixed: KeySet, remote: Option<RemoteKeys>) -> Self {
        Self { config, fixed, remote, rejections: Tally::default() }
    }

    /// Begins to fetch the keys that come from an address, if there are such. Until then there are none of them.
    ///
    /// # Panics
    ///
    /// When it is called outside of a tokio runtime.
    pub fn fetch(&self) {
        if let Some(remote) = &self.remote {
            remote.fetch();
        }
    }

    /// How many tokens were refused for this reason.
    #[must_use]
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejections.of(reason)
    }

    /// What a client is told whose token was not taken.
    fn refuse(&self, rejection: Rejection, request: &AuthRequest) -> Decision {
        self.rejections.count(rejection);
        tracing::info!(
            event = "token_refused",
            reason = rejection.name(),
            client_id = %request.client_id,
            address = request.address.map(tracing::field::display),
            listener = %request.listener,
            "a token was refused"
        );
        Decision::Refuse(if rejection == Rejection::KeysMissing {
            ReasonCode::ServerUnavailable
        } else if request.method.is_some() {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::BadUserNameOrPassword
        })
    }

    /// The token of this request. What does not look like one is a password, or a name, for somebody else; but an
    /// Authentication Method says itself that it is one.
    fn find<'a>(&self, request: &'a AuthRequest) -> Option<&'a [u8]> {
        self.config.places.iter().find_map(|place| match (place, &request.method) {
            (TokenPlace::Method(name), Some(method)) if name == method => {
                Some(request.data.as_deref().unwrap_or_default())
            }
            (TokenPlace::Password, None) => {
                request.password.as_deref().filter(|password| looks_like_token(password))
            }
            (TokenPlace::UserName, None) => {
                let name = request.user_name.as_deref().map(str::as_bytes);
                name.filter(|name| looks_like_token(name))
            }
            (TokenPlace::Method(_) | TokenPlace::Password | TokenPlace::UserName, _) => None,
        })
    }

    async fn judge(&self, token: &[u8]) -> Result<Bearer, Rejection> {
        let rules = &self.config.rules;
        let judged = rules.judge(token, &self.fixed, SystemTime::now());
        let Some(remote) = &self.remote else { return judged };
        if judged != Err(Rejection::KeyUnknown) {
            return judged;
        }
        let judged = remote.current().map(|keys| rules.judge(token, &keys, SystemTime::now()));
        if judged.as_ref().is_some_and(|judged| *judged != Err(Rejection::KeyUnknown)) {
            return judged.unwrap_or(Err(Rejection::KeysMissing));
        }
        // An issuer that has changed its keys signs with one that was not there at the last fetch.
        match remote.fetched_anew().await {
            Some(keys) => rules.judge(token, &keys, SystemTime::now()),
            None => judged.unwrap_or(Err(Rejection::KeysMissing)),
        }
    }
}

impl Authenticator for JwtAuthenticator {
    fn authenticate(&self, mut request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let token = self.find(&request).filter(|token| self.config.rules.is_meant(token));
            let judged = match token {
                Some(token) => self.judge(token).await,
                None => return Step { decision: Decision::PassOn, request },
            };
            let decision = match judged {
                Ok(bearer) => Decision::Accept { identity: identity(bearer), data: None },
                Err(rejection) => {
                    // Whoever notes down who was refused is not to note down a token.
                    if request.user_name.as_ref().is_some_and(|it| looks_like_token(it.as_bytes()))
                    {
                        request.user_name = Some(HIDDEN.to_owned());
                    }
                    self.refuse(rejection, &request)
                }
            };
            Step { decision, request }
        })
    }
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticator")
            .field("config", &self.config)
            .field("fixed", &self.fixed)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

fn identity(bearer: Bearer) -> Identity {
    let mut identity = Identity::named(bearer.user);
    identity.tenant = bearer.tenant;
    identity.roles = bearer.roles;
    // So are they named where rules have places for them: `{claims.NAME}`.
    let attributes = bearer.attributes.into_iter();
    identity.attributes =
        attributes.map(|(name, value)| (format!("claims.{name}"), value)).collect();
    identity.expires = bearer.lasts.and_then(|lasts| Instant::now().checked_add(lasts));
    identity
}
