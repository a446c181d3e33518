//! The step of a chain that asks a service.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dunlin_broker::{
    AuthRequest, Authenticator, BoxFuture, Decision, Identity, ReasonCode, Step, Version,
};
use serde::Serialize;

use super::answer::{self, Accepted, Answer};
use super::client::{HttpClient, HttpConfig, HttpConfigError, HttpError, Url};
use crate::answers::{Answers, Fingerprint};
use crate::on_failure::OnFailure;
use crate::turns::{Crowded, Turns};

/// From one line in the log about a service that fails to the next.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Which service is asked, and what holds when it does not answer.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct CalloutConfig {
    /// Its address. Without TLS passwords can be read on their way; whoever sets it up is to be told so
    /// ([`Url::is_exposed`]).
    pub url: Url,
    /// How it is asked. The timeout counts from when a client comes, waiting for its turn included.
    pub http: HttpConfig,
    /// Questions that are on their way at once. Further clients wait for their turn.
    pub questions_max: usize,
    /// Clients that wait for their turn. A further one counts as a failure.
    pub waiting_max: usize,
    /// What becomes of a client when there is no answer, or none that can be read.
    pub on_failure: OnFailure,
    /// What is kept of answers.
    pub cache: CalloutCacheConfig,
}

impl CalloutConfig {
    /// How long an answer may take by default: well within what the broker gives all authenticators together by default, or
    /// what is set for a failure could not come into effect.
    pub const TIMEOUT: Duration = Duration::from_secs(2);

    /// This service, 2 s for an answer, 64 questions at once, and nobody comes in while it fails.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            http: HttpConfig { timeout: Self::TIMEOUT, ..HttpConfig::default() },
            questions_max: 64,
            waiting_max: 1_024,
            on_failure: OnFailure::Refuse,
            cache: CalloutCacheConfig::default(),
        }
    }
}

/// What is kept of answers. The same question, password included, is then not asked again. Failures are never kept.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CalloutCacheConfig {
    /// Answers that are kept. The oldest goes when another comes. 0: none.
    pub entries_max: usize,
    /// For how long one that accepts is kept, though not past its `expires_in`.
    pub accepted_for: Duration,
    /// For how long one that refuses or passes on is kept.
    pub refused_for: Duration,
}

impl Default for CalloutCacheConfig {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            accepted_for: Duration::from_secs(60),
            refused_for: Duration::from_secs(5),
        }
    }
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CalloutFailure {
    /// None within the timeout.
    Timeout,
    /// More clients wait for their turn than `waiting_max`.
    Crowded,
    /// No connection, or no TLS.
    Connect,
    /// It broke off, or is no HTTP.
    Broken,
    /// Its status is not 200.
    Status,
    /// It has more bytes than `answer_bytes_max`.
    TooLong,
    /// It is not what an answer looks like.
    Malformed,
}

impl CalloutFailure {
    /// Every kind of failure.
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Crowded,
        Self::Connect,
        Self::Broken,
        Self::Status,
        Self::TooLong,
        Self::Malformed,
    ];

    /// The stable name, as in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
        }
    }
}

/// What the service is asked: this, in JSON, is the body of the POST.
#[derive(Serialize)]
struct Question<'a> {
    client_id: &'a str,
    user_name: Option<&'a str>,
    /// As text where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    /// In base64 where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<String>,
    address: Option<String>,
    listener: &'a str,
    version: &'static str,
}

/// Lets clients in whom a service accepts.
///
/// Clients of an AUTH exchange are passed on. Any number of questions may be asked at once for one client; each is asked of
/// the service alone, in no order.
pub struct HttpAuthenticator {
    url: Url,
    client: HttpClient,
    turns: Turns,
    on_failure: OnFailure,
    cache: Answers<Known>,
    cache_config: CalloutCacheConfig,
    failures: [AtomicU64; CalloutFailure::ALL.len()],
    logged: Mutex<Option<Instant>>,
}

/// An answer with the end of what it says, which is a point in time from when it was given.
#[derive(Clone, Debug)]
enum Known {
    Accept(Identity),
    Refuse(ReasonCode),
    PassOn,
}

impl HttpAuthenticator {
    /// A step that asks this service.
    ///
    /// # Errors
    ///
    /// [`HttpConfigError`] when the certificates or a header cannot be used. That the service does not answer is none.
    pub fn new(config: CalloutConfig) -> Result<Self, HttpConfigError> {
        Ok(Self {
            client: HttpClient::new(&config.http)?,
            url: config.url,
            turns: Turns::new(config.questions_max, config.waiting_max),
            on_failure: config.on_failure,
            cache: Answers::new(config.cache.entries_max),
            cache_config: config.cache,
            failures: Default::default(),
            logged: Mutex::new(None),
        })
    }

    /// Forgets all answers, so that a user that has changed is asked for at once.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// How often the service failed in this way.
    #[must_use]
    pub fn failed(&self, failure: CalloutFailure) -> u64 {
        self.failures.get(failure as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How many answers were forgotten before their time because there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.cache.given_up()
    }

    /// What holds of this question; `named` is the User Name that the client gives.
    async fn decide(&self, question: Bytes, named: Option<&str>) -> Decision {
        let fingerprint = self.cache.fingerprint(&[&question]);
        let known = fingerprint.as_ref().and_then(|kept| self.cache.find(kept, Instant::now()));
        let known = match known {
            Some(known) => Ok(known),
            None => self.ask(question, named, fingerprint).await,
        };
        match known {
            Ok(Known::Accept(identity)) => Decision::Accept { identity, data: None },
            Ok(Known::Refuse(reason)) => Decision::Refuse(reason),
            Ok(Known::PassOn) => Decision::PassOn,
            Err((failure, words)) => {
                self.note(failure, &words);
                self.on_failure.decision(named)
            }
        }
    }

    async fn ask(
        &self,
        question: Bytes,
        named: Option<&str>,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Known, (CalloutFailure, String)> {
        let answer = self.answer(question).await?;
        let answer = answer::parse(&answer).map_err(|words| (CalloutFailure::Malformed, words))?;
        let now = Instant::now();
        let (known, kept_for) = match answer {
            Answer::Accept(accepted) => {
                let expires_in = accepted.expires_in.unwrap_or(Duration::MAX);
                let identity = identity(accepted, named, now).ok_or_else(|| {
                    let words = "it names no user, and neither does the client";
                    (CalloutFailure::Malformed, words.to_owned())
                })?;
                (Known::Accept(identity), self.cache_config.accepted_for.min(expires_in))
            }
            Answer::Refuse(reason) => (Known::Refuse(reason), self.cache_config.refused_for),
            Answer::PassOn => (Known::PassOn, self.cache_config.refused_for),
        };
        if let Some(fingerprint) = fingerprint {
            self.cache.keep(fingerprint, known.clone(), kept_for, now);
        }
        Ok(known)
    }

    /// The service's answer, when it is this client's turn.
    async fn answer(&self, question: Bytes) -> Result<Bytes, (CalloutFailure, String)> {
        let timeout = self.client.timeout();
        let asked = async {
            let crowded = |crowded: Crowded| (CalloutFailure::Crowded, crowded.to_string());
            let _turn = self.turns.take().await.map_err(crowded)?;
            self.client.post_json(&self.url, question).await.map_err(|error| {
                let failure = match error {
                    HttpError::Timeout(_) => CalloutFailure::Timeout,
                    HttpError::TooLong(_) => CalloutFailure::TooLong,
                    HttpError::Status(_) => CalloutFailure::Status,
                    HttpError::Connect(_) => CalloutFailure::Connect,
                    HttpError::Broken(_) => CalloutFailure::Broken,
                };
                (failure, error.to_string())
            })
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
            Err((CalloutFailure::Timeout, HttpError::Timeout(timeout).to_string()))
        })
    }

    /// Counts a failure, and says so when failures begin and once a minute after that.
    fn note(&self, failure: CalloutFailure, words: &str) {
        if let Some(counter) = self.failures.get(failure as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if logged.is_some_and(|at| now.saturating_duration_since(at) < LOG_EVERY) {
            return;
        }
        *logged = Some(now);
        tracing::warn!(
            event = "callout_failed",
            url = %self.url,
            failure = failure.name(),
            reason = words,
            times = self.failed(failure),
            "a service that is asked about clients does not answer as it should"
        );
    }
}

impl Authenticator for HttpAuthenticator {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = if request.method.is_some() {
                Decision::PassOn
            } else {
                self.decide(question(&request), request.user_name.as_deref()).await
            };
            Step { decision, request }
        })
    }
}

impl fmt::Debug for HttpAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAuthenticator").field("url", &self.url).finish_non_exhaustive()
    }
}

fn question(request: &AuthRequest) -> Bytes {
    let password = request.password.as_deref();
    let text = password.and_then(|password| std::str::from_utf8(password).ok());
    let question = Question {
        client_id: &request.client_id,
        user_name: request.user_name.as_deref(),
        password: text,
        password_base64: password.filter(|_| text.is_none()).map(|bytes| STANDARD.encode(bytes)),
        address: request.address.map(|address| address.ip().to_string()),
        listener: &request.listener,
        version: match request.version {
            Version::V3_1 => "3.1",
            Version::V3_1_1 => "3.1.1",
            Version::V5 => "5.0",
        },
    };
    // Texts and an address always have a form in JSON.
    serde_json::to_vec(&question).unwrap_or_default().into()
}

/// Who the client is: the user of the answer, else the one that the client names.
fn identity(accepted: Accepted, named: Option<&str>, now: Instant) -> Option<Identity> {
    // An empty name is no user: it would be the anonymous one.
    let named = named.filter(|name| !name.is_empty()).map(str::to_owned);
    let mut identity = Identity::named(accepted.user.or(named)?);
    identity.tenant = accepted.tenant;
    identity.roles = accepted.roles;
    // So are they named where rules have places for them: `{claims.NAME}`.
    let attributes = accepted.attributes.into_iter();
    identity.attributes =
        attributes.map(|(name, value)| (format!("claims.{name}"), value)).collect();
    identity.expires = accepted.expires_in.and_then(|lasts| now.checked_add(lasts));
    Some(identity)
}
