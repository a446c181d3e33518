//! Sections `[auth.NAME]` of kind "http": from what one says to the step that asks a service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dunlin_auth::SecretSource;
use dunlin_auth::http::{
    CalloutCacheConfig, CalloutConfig, HttpAuthenticator, HttpConfig, OnFailure, Url,
};

/// What a section about a service says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HttpSettings {
    pub(crate) url: Option<String>,
    pub(crate) authorization: Option<SecretSource>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) answer_bytes_max: usize,
    pub(crate) idle_connections_max: usize,
    pub(crate) questions_max: usize,
    pub(crate) waiting_max: usize,
    pub(crate) on_failure: OnFailure,
    pub(crate) cache_entries_max: usize,
    pub(crate) cache_accepted: Duration,
    pub(crate) cache_refused: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let (http, cache) = (HttpConfig::default(), CalloutCacheConfig::default());
        Self {
            url: None,
            authorization: None,
            ca_file: None,
            timeout: CalloutConfig::TIMEOUT,
            answer_bytes_max: http.answer_bytes_max,
            idle_connections_max: http.idle_connections_max,
            // As [`CalloutConfig::new`] has it.
            questions_max: 64,
            waiting_max: 1_024,
            on_failure: OnFailure::default(),
            cache_entries_max: cache.entries_max,
            cache_accepted: cache.accepted_for,
            cache_refused: cache.refused_for,
        }
    }
}

/// The step that a section asks for.
pub(crate) fn open(settings: &HttpSettings) -> Result<Arc<HttpAuthenticator>, String> {
    let url = settings.url.as_ref().ok_or("says no `url`: the service's address")?;
    let url = Url::parse(url).map_err(|error| format!("cannot use `url`: {error}"))?;
    let mut config = CalloutConfig::new(url);
    config.http.timeout = settings.timeout;
    config.http.answer_bytes_max = settings.answer_bytes_max;
    config.http.idle_connections_max = settings.idle_connections_max;
    config.http.ca_file.clone_from(&settings.ca_file);
    if let Some(secret) = &settings.authorization {
        let value = secret.resolve().map_err(|error| error.to_string())?;
        config.http.headers.push(("Authorization".to_owned(), value));
    }
    config.questions_max = settings.questions_max;
    config.waiting_max = settings.waiting_max;
    config.on_failure = settings.on_failure;
    config.cache.entries_max = settings.cache_entries_max;
    config.cache.accepted_for = settings.cache_accepted;
    config.cache.refused_for = settings.cache_refused;
    let step = HttpAuthenticator::new(config).map_err(|error| error.to_string())?;
    Ok(Arc::new(step))
}

/// Whether the service of this section is told passwords that can be read on their way.
pub(crate) fn is_exposed(settings: &HttpSettings) -> bool {
    let url = settings.url.as_deref().map(Url::parse);
    url.is_some_and(|url| url.is_ok_and(|url| url.is_exposed()))
}
