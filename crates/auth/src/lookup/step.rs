//! The step of a chain that asks a source.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_broker::{AuthRequest, Authenticator, BoxFuture, Decision, Identity, ReasonCode, Step};

use super::pool::Pool;
use super::record::Record;
use super::source::{Found, Question, SourceError, SourceFailure, UserSource};
use super::stand_ins::StandIns;
use crate::answers::{Answers, Fingerprint};
use crate::hash::{PASSWORD_BYTES_MAX, PasswordHash};
use crate::on_failure::OnFailure;
use crate::workers::{Busy, Workers};

/// From one line in the log about a source that fails to the next.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How a source is asked, and what holds when it does not answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LookupOptions {
    /// From when a client comes to the answer, waiting for a turn and connecting included. Later it is a failure.
    pub timeout: Duration,
    /// Connections, and questions at once. Further clients wait for their turn.
    pub connections_max: usize,
    /// Clients that wait for their turn. A further one counts as a failure.
    pub waiting_max: usize,
    /// What becomes of a client while the source is away. Where it refuses the question, or says what cannot be understood,
    /// the client is refused (0x88) whatever stands here.
    pub on_failure: OnFailure,
    /// What becomes of a client whose name the source does not have.
    pub unknown_user: UnknownUser,
    /// Answers that are kept of clients that came in, and as many of others. The oldest goes when another comes. 0: none.
    pub cache_entries_max: usize,
    /// How long the answer is kept that lets a client in. What changes in the source meanwhile does not count yet.
    pub cache_accepted: Duration,
    /// How long any other answer is kept. Failures never are.
    pub cache_refused: Duration,
}

impl Default for LookupOptions {
    /// Eight connections, two seconds, and nobody comes in while the source is away. All steps of a chain have the broker's
    /// `hook_deadline` together, five seconds: a step that is to pass on must give up before.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            connections_max: 8,
            waiting_max: 1_024,
            on_failure: OnFailure::Refuse,
            unknown_user: UnknownUser::PassOn,
            cache_entries_max: 10_000,
            cache_accepted: Duration::from_secs(60),
            cache_refused: Duration::from_secs(5),
        }
    }
}

/// What becomes of a client whose name the source does not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownUser {
    /// The next step is asked.
    #[default]
    PassOn,
    /// It is refused, as one with a wrong password is.
    Refuse,
}

/// Lets clients in whom a source knows, by User Name and Password.
///
/// * A user's right password is accepted, a wrong one refused. A name that the source does not have is passed on or refused,
///   after as much work as a wrong password takes.
/// * A client without a User Name or a Password, with an empty one, or with an Authentication Method is passed on.
///
/// Hashes are computed by [`Workers`], never on a connection's task.
pub struct Lookup<S: UserSource> {
    name: String,
    options: LookupOptions,
    pool: Pool<S>,
    workers: Workers,
    stand_ins: StandIns,
    accepted: Answers<Known>,
    /// Apart, so that guessing displaces nobody who may come in.
    refused: Answers<Known>,
    failures: [AtomicU64; SourceFailure::ALL.len()],
    logged: Mutex<Option<Instant>>,
}

/// What was found out about a client.
#[derive(Clone, Debug)]
enum Known {
    Right(Identity),
    Wrong,
    Nobody,
}

/// Why nothing was found out.
enum Failed {
    Source(SourceError),
    Busy,
}

impl From<Busy> for Failed {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

impl<S: UserSource> Lookup<S> {
    /// A step that asks this source. Nothing is asked, and no connection made, before a client comes.
    #[must_use]
    pub fn new(source: S, options: LookupOptions, workers: Workers) -> Self {
        Self {
            name: source.name(),
            options,
            pool: Pool::new(source, options.connections_max, options.waiting_max),
            workers,
            stand_ins: StandIns::new(),
            accepted: Answers::new(options.cache_entries_max),
            refused: Answers::new(options.cache_entries_max),
            failures: Default::default(),
            logged: Mutex::new(None),
        }
    }

    /// Forgets all answers, so that a user that has changed is asked for at once.
    pub fn forget(&self) {
        self.accepted.clear();
        self.refused.clear();
    }

    /// How often the source failed in this way.
    #[must_use]
    pub fn failed(&self, failure: SourceFailure) -> u64 {
        self.failures.get(failure as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How many answers were forgotten before their time because there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.accepted.given_up() + self.refused.given_up()
    }

    async fn decide(&self, question: Question) -> Decision {
        let kept_as = self.fingerprint(&question);
        let known = match kept_as.and_then(|kept_as| self.find(&kept_as)) {
            Some(known) => Ok(known),
            None => self.judge(&question, kept_as).await,
        };
        match known {
            Ok(Known::Right(identity)) => Decision::Accept { identity, data: None },
            Ok(Known::Wrong) => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
            Ok(Known::Nobody) => match self.options.unknown_user {
                UnknownUser::PassOn => Decision::PassOn,
                UnknownUser::Refuse => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
            },
            Err(Failed::Busy) => Decision::Refuse(ReasonCode::ServerBusy),
            Err(Failed::Source(error)) => {
                self.note(&error);
                if error.failure.is_outage() {
                    self.options.on_failure.decision(Some(&question.user_name))
                } else {
                    Decision::Refuse(ReasonCode::ServerUnavailable)
                }
            }
        }
    }

    fn fingerprint(&self, question: &Question) -> Option<Fingerprint> {
        let Question { user_name, password, client_id, address, listener } = question;
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let parts: [&[u8]; 5] = [
            user_name.as_bytes(),
            password,
            client_id.as_bytes(),
            address.as_bytes(),
            listener.as_bytes(),
        ];
        let count = if self.pool.source().is_about_connection() { parts.len() } else { 2 };
        self.accepted.fingerprint(parts.get(..count)?)
    }

    fn find(&self, kept_as: &Fingerprint) -> Option<Known> {
        let now = Instant::now();
        self.accepted.find(kept_as, now).or_else(|| self.refused.find(kept_as, now))
    }

    async fn judge(
        &self,
        question: &Question,
        kept_as: Option<Fingerprint>,
    ) -> Result<Known, Failed> {
        let timeout = self.options.timeout;
        let asked = tokio::time::timeout(timeout, self.pool.ask(question)).await;
        let found = asked
            .unwrap_or_else(|_| {
                // The others may hang on the same dead peer, and each would cost a client its time.
                self.pool.forget_idle();
                let words = format!("no answer within {timeout:?}");
                Err(SourceError::new(SourceFailure::Timeout, words))
            })
            .map_err(Failed::Source)?;
        let known = self.check(found, question).await?;
        if let Some(kept_as) = kept_as {
            let now = Instant::now();
            let LookupOptions { cache_accepted, cache_refused, .. } = self.options;
            match known {
                Known::Right(_) => self.accepted.keep(kept_as, known.clone(), cache_accepted, now),
                Known::Wrong | Known::Nobody => {
                    self.refused.keep(kept_as, known.clone(), cache_refused, now);
                }
            }
        }
        Ok(known)
    }

    /// A hash is computed for who is there and for who is not.
    async fn check(&self, found: Found, question: &Question) -> Result<Known, Busy> {
        let name = &question.user_name;
        let (record, otherwise) = match found {
            Found::Proven(identity) => return Ok(Known::Right(identity)),
            Found::Disproven => return Ok(Known::Wrong),
            Found::Nobody if S::CHECKS_PASSWORDS => return Ok(Known::Nobody),
            Found::Nobody => (None, Known::Nobody),
            Found::Record(Record { password, .. }) if password.is_locked() => (None, Known::Wrong),
            Found::Record(record) => (Some(record), Known::Wrong),
        };
        let Some(Record { password, identity }) = record else {
            self.fits(self.stand_ins.of(name), name, question).await?;
            return Ok(otherwise);
        };
        self.stand_ins.note(name, &password);
        let fits = self.fits(Arc::new(password), name, question).await?;
        Ok(if fits { Known::Right(identity) } else { Known::Wrong })
    }

    async fn fits(
        &self,
        hash: Arc<PasswordHash>,
        user: &str,
        question: &Question,
    ) -> Result<bool, Busy> {
        let password = question.password.clone();
        self.workers
            .run(question.address, user, move |scratch| hash.verify(&password, scratch))
            .await
    }

    /// Counts a failure, and says so when failures begin and once a minute after that.
    fn note(&self, error: &SourceError) {
        if let Some(counter) = self.failures.get(error.failure as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_some_and(|at| now.saturating_duration_since(at) < LOG_EVERY) {
            return;
        }
        *logged = Some(now);
        drop(logged);
        tracing::warn!(
            event = "lookup_failed",
            source = self.name,
            failure = error.failure.name(),
            reason = error.words,
            times = self.failed(error.failure),
            "a database or directory that is asked about clients does not answer as it should"
        );
    }
}

impl<S: UserSource> Authenticator for Lookup<S> {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = match question(&request) {
                Some(question) => self.decide(question).await,
                None => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}

impl<S: UserSource> fmt::Debug for Lookup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("source", &self.name).finish_non_exhaustive()
    }
}

/// What is asked about a client; none if there is nothing to ask.
fn question(request: &AuthRequest) -> Option<Question> {
    if request.method.is_some() {
        return None;
    }
    // A directory takes an empty password for somebody who wants to be nobody, and says yes (RFC 4513, section 5.1.2).
    let given = |password: &&Bytes| (1..=PASSWORD_BYTES_MAX).contains(&password.len());
    Some(Question {
        user_name: request.user_name.clone().filter(|name| !name.is_empty())?,
        password: request.password.as_ref().filter(given)?.clone(),
        client_id: request.client_id.clone(),
        address: request.address.map(|address| -> IpAddr { address.ip() }),
        listener: request.listener.clone(),
    })
}
