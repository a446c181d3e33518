//! Clients who stand in Redis, or in what speaks its protocol: a hash for each user.

use std::fmt;
use std::path::PathBuf;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, ServerErrorKind, TlsCertificates,
};

use crate::Secret;
use crate::lookup::{
    ATTRIBUTES_MAX, Found, Question, RecordDraft, SourceError, SourceFailure, UserSource,
};

/// Characters of what the server says that are handed on.
const WORDS_MAX: usize = 400;
/// What stands in a key for the User Name.
const PLACE: &str = "{username}";
/// What is read of a user, beside attributes.
const FIELDS: [&str; 4] = ["password_hash", "user_name", "tenant", "roles"];

/// Which server is asked, and for what.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://USER@HOST:PORT/DATABASE`, `rediss://` with TLS, `redis+unix:///PATH`. A password may stand in it.
    pub url: Secret,
    /// The password, where the address has none.
    pub password: Option<Secret>,
    /// A file with the certificates (PEM) of those who may vouch for the server. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// The key of a user's hash, with `{username}` in it.
    pub key: String,
    /// Further fields that are attributes, for `{claims.NAME}` in rules.
    pub attributes: Vec<String>,
}

impl RedisConfig {
    /// This server, with users under `mqtt:user:NAME`.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        let key = "mqtt:user:{username}".to_owned();
        Self { url, password: None, ca_file: None, key, attributes: Vec::new() }
    }
}

/// Why no server can be asked.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The address is none. It is not shown, since a password may stand in it.
    #[error("the address of the server is none: one looks as rediss://USER@HOST/0")]
    Url,
    /// The password is no UTF-8.
    #[error("the password of the server is no UTF-8")]
    Password,
    /// The key says nothing of the user.
    #[error("`key` has no {{username}}: it would be about the same user for everybody")]
    Key,
    /// There are too many attributes.
    #[error("`attributes` has more than {ATTRIBUTES_MAX} names")]
    Attributes,
    /// The file with certificates cannot be read.
    #[error("{path} is no file with certificates: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Users of a Redis server.
pub struct Redis {
    client: Client,
    name: String,
    is_exposed: bool,
    key: (String, String),
    fields: Vec<String>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Redis {
    /// A source that asks this server. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`RedisConfigError`] when the address, the key or the certificates cannot be used.
    pub fn new(config: &RedisConfig) -> Result<Self, RedisConfigError> {
        let url = config.url.expose_str().ok_or(RedisConfigError::Url)?;
        let mut info = url.into_connection_info().map_err(|_| RedisConfigError::Url)?;
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        if let Some(password) = &config.password {
            let password = password.expose_str().ok_or(RedisConfigError::Password)?;
            settings = settings.set_password(password);
        }
        info = info.set_redis_settings(settings.set_skip_set_lib_name());
        let (before, after) = config.key.split_once(PLACE).ok_or(RedisConfigError::Key)?;
        if config.attributes.len() > ATTRIBUTES_MAX {
            return Err(RedisConfigError::Attributes);
        }
        let name = format!("redis {}", info.addr());
        let is_exposed = is_exposed(info.addr());
        let root_cert = match &config.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| RedisConfigError::CaFile {
                path: path.clone(),
                reason: error.to_string(),
            })?),
        };
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = if is_tls {
            // The client takes the process's provider and has no way to be given one. An earlier one stays.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        } else {
            Client::open(info)
        };
        let fields = FIELDS.into_iter().map(str::to_owned);
        Ok(Self {
            client: client.map_err(|_| RedisConfigError::Url)?,
            name,
            is_exposed,
            key: (before.to_owned(), after.to_owned()),
            fields: fields.chain(config.attributes.iter().cloned()).collect(),
        })
    }

    /// Whether hashes can be read on their way: it is another machine, and there is no TLS that proves that it is the right
    /// one.
    #[must_use]
    pub const fn is_exposed(&self) -> bool {
        self.is_exposed
    }
}

impl UserSource for Redis {
    type Connection = MultiplexedConnection;

    fn name(&self) -> String {
        self.name.clone()
    }

    async fn connect(&self) -> Result<MultiplexedConnection, SourceError> {
        // Whoever asks has a timeout of its own.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| failed(SourceFailure::Connect, &error.to_string()))
    }

    async fn look_up(
        &self,
        connection: &mut MultiplexedConnection,
        question: &Question,
    ) -> Result<Found, SourceError> {
        let (before, after) = &self.key;
        let key = format!("{before}{}{after}", question.user_name);
        let mut command = redis::cmd("HMGET");
        command.arg(key).arg(&self.fields);
        let values: Vec<Option<Vec<u8>>> = command
            .query_async(connection)
            .await
            .map_err(|error| failed(kind(&error), &error.to_string()))?;
        if values.iter().all(Option::is_none) {
            return Ok(Found::Nobody);
        }
        let mut draft = RecordDraft::default();
        for (name, value) in self.fields.iter().zip(values) {
            let Some(value) = value else { continue };
            let text = std::str::from_utf8(&value).map_err(|_| {
                failed(SourceFailure::Malformed, &format!("the field {name:?} is no UTF-8"))
            })?;
            draft.field(name, text)?;
        }
        draft.record(&question.user_name).map(Found::Record)
    }
}

fn failed(failure: SourceFailure, words: &str) -> SourceError {
    SourceError::new(failure, words.chars().take(WORDS_MAX).collect::<String>())
}

/// Another machine without TLS, or with TLS that proves nothing.
fn is_exposed(address: &ConnectionAddr) -> bool {
    if let ConnectionAddr::Tcp(host, _) = address {
        let host = host.trim_matches(['[', ']']);
        let is_loopback =
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        return host != "localhost" && !is_loopback;
    }
    matches!(address, ConnectionAddr::TcpTls { insecure: true, .. })
}

/// A key that is no hash is an answer that cannot be read, and no outage: who is named so does not come in by it.
fn kind(error: &RedisError) -> SourceFailure {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, TryAgain};
    let kind = error.kind();
    let is_away = matches!(
        kind,
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | TryAgain)
    );
    if is_away {
        SourceFailure::Broken
    } else if kind == ErrorKind::UnexpectedReturnType {
        SourceFailure::Malformed
    } else {
        SourceFailure::Refused
    }
}
