//! The keys of an issuer, fetched from its JWKS URL and kept fresh.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::http::{HttpClient, HttpConfig, HttpConfigError, HttpError, Url};

use super::algorithm::Algorithm;
use super::jwk::{JWKS_BYTES_MAX, Origin};
use super::keys::KeySet;

/// After the first failure; each further one doubles it.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest time from one failure to the next try.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// Where keys are fetched, and how often.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct JwksConfig {
    /// The address. Without TLS only this machine is asked: keys that somebody can change on their way prove nothing.
    pub url: Url,
    /// From one fetch to the next.
    pub refresh: Duration,
    /// The least time between two fetches that tokens with an unknown `kid` ask for. Tokens with one that come meanwhile
    /// are refused.
    pub unknown_key_wait: Duration,
    /// The algorithms that are taken; empty: all but those with a secret.
    pub algorithms: Vec<Algorithm>,
    /// How the address is asked.
    pub http: HttpConfig,
}

impl JwksConfig {
    /// The keys of this address, fetched anew every 15 minutes, and for an unknown `kid` every 30 s at most.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            refresh: Duration::from_secs(15 * 60),
            unknown_key_wait: Duration::from_secs(30),
            algorithms: Vec::new(),
            http: HttpConfig { answer_bytes_max: JWKS_BYTES_MAX, ..HttpConfig::default() },
        }
    }
}

/// Why keys cannot be fetched at all.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is another machine's, asked without TLS.
    #[error("{0} is asked without TLS: keys that can be changed on their way prove nothing")]
    Exposed(Url),
    /// The client cannot be set up.
    #[error(transparent)]
    Http(#[from] HttpConfigError),
}

/// The keys of an issuer. A task of its own fetches them; the last ones stay while it fails. It ends with this value.
pub struct RemoteKeys {
    url: Url,
    state: watch::Receiver<State>,
    wish: Arc<Notify>,
    unknown_key_wait: Duration,
    patience: Duration,
    task: Mutex<Task>,
}

enum Task {
    Waits(Box<Fetching>),
    Runs(AbortHandle),
    /// Only while one of the others takes the place of another.
    Absent,
}

/// What the task has done so far.
#[derive(Clone, Debug, Default)]
struct State {
    /// The keys of the last fetch that succeeded.
    keys: Option<Arc<KeySet>>,
    /// When a fetch ended last, whatever came of it.
    tried: Option<Instant>,
}

impl RemoteKeys {
    /// Keys that are to be fetched from there. Nothing is until [`RemoteKeys::fetch`] is called.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when the address or the certificates are not usable.
    pub fn new(config: JwksConfig) -> Result<Self, RemoteError> {
        if config.url.is_exposed() {
            return Err(RemoteError::Exposed(config.url));
        }
        let client = HttpClient::new(&config.http)?;
        let (sender, state) = watch::channel(State::default());
        let wish = Arc::new(Notify::new());
        let (url, unknown_key_wait) = (config.url.clone(), config.unknown_key_wait);
        let patience = client.timeout();
        let fetching = Fetching { config, client, sender, wish: Arc::clone(&wish) };
        let task = Mutex::new(Task::Waits(Box::new(fetching)));
        Ok(Self { url, state, wish, unknown_key_wait, patience, task })
    }

    /// Begins to fetch the keys, if nobody has begun yet. An address that does not answer is asked again after 1 s, then after
    /// twice as long each time, up to 5 minutes.
    ///
    /// # Panics
    ///
    /// When it is called outside of a tokio runtime.
    pub fn fetch(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        *task = match std::mem::replace(&mut *task, Task::Absent) {
            Task::Waits(fetching) => Task::Runs(tokio::spawn(fetching.run()).abort_handle()),
            begun @ (Task::Runs(_) | Task::Absent) => begun,
        };
    }

    /// The keys as they are now; none before the first fetch has succeeded.
    #[must_use]
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    /// The keys after a fetch that begins now, or the first one that is on its way: none if that is not to be, because the
    /// last fetch was only just, or brought nothing new in time.
    pub(super) async fn fetched_anew(&self) -> Option<Arc<KeySet>> {
        let mut state = self.state.clone();
        let tried = state.borrow_and_update().tried;
        match tried {
            Some(tried) if tried.elapsed() < self.unknown_key_wait => return None,
            Some(_) => self.wish.notify_one(),
            // The first fetch is on its way.
            None => {}
        }
        tokio::time::timeout(self.patience, state.changed()).await.ok()?.ok()?;
        self.current()
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Task::Runs(task) = task {
            task.abort();
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("url", &self.url).finish_non_exhaustive()
    }
}

struct Fetching {
    config: JwksConfig,
    client: HttpClient,
    sender: watch::Sender<State>,
    wish: Arc<Notify>,
}

impl Fetching {
    async fn run(self: Box<Self>) {
        let mut retry = RETRY_MIN;
        loop {
            let pause = match self.fetch().await {
                Ok(keys) => {
                    tracing::info!(
                        event = "jwks_fetched",
                        url = %self.config.url,
                        keys = keys.len(),
                        skipped = keys.skipped(),
                        "the keys of an issuer are fetched"
                    );
                    self.note(Some(Arc::new(keys)));
                    retry = RETRY_MIN;
                    self.config.refresh
                }
                Err(reason) => {
                    tracing::warn!(
                        event = "jwks_failed",
                        url = %self.config.url,
                        reason,
                        retry_secs = retry.as_secs(),
                        "the keys of an issuer cannot be fetched; those that are there stay"
                    );
                    self.note(None);
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            self.rest(pause).await;
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let json = self
            .client
            .get(&self.config.url)
            .await
            .map_err(|error: HttpError| error.to_string())?;
        KeySet::from_json(&json, Origin::Network, &self.config.algorithms)
            .map_err(|error| error.to_string())
    }

    fn note(&self, keys: Option<Arc<KeySet>>) {
        self.sender.send_modify(|state| {
            state.tried = Some(Instant::now());
            if keys.is_some() {
                state.keys = keys;
            }
        });
    }

    /// Waits until it is time again, or until somebody wishes for it and the last time is long enough ago.
    async fn rest(&self, pause: Duration) {
        let begin = Instant::now();
        let wished = async {
            self.wish.notified().await;
            tokio::time::sleep_until(begin + self.config.unknown_key_wait).await;
        };
        let _ = tokio::time::timeout(pause, wished).await;
    }
}
