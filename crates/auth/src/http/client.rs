//! Asking another machine over HTTP: within a time, for an answer of bounded size, and without surprises.
//!
//! No redirects, no cookies, no proxies from environment variables, no compressed answers, HTTP/1.1 only: what is asked is a
//! service of the installation's own, and each of these would make it somebody else's choice whom the broker believes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::Secret;
use crate::trust::{self, NoCertificates};

/// Bytes of the head of an answer. A longer one is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a connection is kept for another question.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The address of a service: `http://` or `https://`, without user and password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url(Uri);

/// Why something is no address of a service.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL with a host.
    #[error("it is no URL; one looks as https://host/path")]
    Invalid,
    /// It begins with neither `http` nor `https`.
    #[error("it begins with neither http:// nor https://")]
    Scheme,
    /// It holds a user name or a password, which would stand in logs.
    #[error("it holds a user name; credentials belong in a header, whose value can be a secret")]
    Credentials,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`UrlError`] when it is no URL, of another scheme, or holds credentials.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Invalid)?;
        let authority = uri.authority().ok_or(UrlError::Invalid)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UrlError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(UrlError::Invalid);
        }
        Ok(Self(uri))
    }

    /// Whether what is said to it can be read or changed on the way: it is asked without TLS, and is another machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        self.0.scheme_str() != Some("https") && !here
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How services are asked.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// From the question to the end of the answer, connecting included.
    pub timeout: Duration,
    /// Bytes of an answer. A longer one is a failure.
    pub answer_bytes_max: usize,
    /// Connections that are kept open for later questions.
    pub idle_connections_max: usize,
    /// A file with the certificates (PEM) of those who may vouch for the service. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Headers that are sent with each question, such as Authorization.
    pub headers: Vec<(String, Secret)>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            answer_bytes_max: 64 * 1024,
            idle_connections_max: 8,
            ca_file: None,
            headers: Vec::new(),
        }
    }
}

/// Why no service can be asked.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HttpConfigError {
    /// The file with certificates cannot be read or holds none.
    #[error("{path} is no file with certificates: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A header cannot be sent. Its value is not shown.
    #[error(
        "the header {0:?} cannot be sent: its name or its value has a character that no header has"
    )]
    Header(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("the answer broke off or is no HTTP: {0}")]
    Broken(String),
}

/// Asks services.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    answer_bytes_max: usize,
}

impl HttpClient {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, HttpConfigError> {
        let headers: Result<Vec<_>, _> = config.headers.iter().map(header).collect();
        let tls = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trust::roots(config.ca_file.as_deref()).map_err(untrusted)?)
        .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(config.idle_connections_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self {
            client,
            headers: headers?,
            timeout: config.timeout,
            answer_bytes_max: config.answer_bytes_max,
        })
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) async fn get(&self, url: &Url) -> Result<Bytes, HttpError> {
        self.ask(Request::get(url.0.clone()), Bytes::new()).await
    }

    pub(crate) async fn post_json(&self, url: &Url, body: Bytes) -> Result<Bytes, HttpError> {
        let request = Request::post(url.0.clone())
            .header(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.ask(request, body).await
    }

    /// The body of the answer, if its status is 200.
    async fn ask(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Bytes, HttpError> {
        let request =
            request.header(hyper::header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut request =
            request.body(Full::new(body)).map_err(|error| HttpError::Connect(error.to_string()))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        tokio::time::timeout(self.timeout, self.answer(request))
            .await
            .unwrap_or(Err(HttpError::Timeout(self.timeout)))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Bytes, HttpError> {
        let answer = self.client.request(request).await.map_err(|error| {
            let words = in_full(&error);
            if error.is_connect() { HttpError::Connect(words) } else { HttpError::Broken(words) }
        })?;
        let status = answer.status();
        if status != hyper::StatusCode::OK {
            return Err(HttpError::Status(status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), self.answer_bytes_max);
        match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(HttpError::TooLong(self.answer_bytes_max))
            }
            Err(error) => Err(HttpError::Broken(in_full(&*error))),
        }
    }
}

fn untrusted(NoCertificates { path, reason }: NoCertificates) -> HttpConfigError {
    HttpConfigError::CaFile { path, reason }
}

impl fmt::Debug for HttpClient {
    /// Leaves out the headers, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn header((name, value): &(String, Secret)) -> Result<(HeaderName, HeaderValue), HttpConfigError> {
    let refused = || HttpConfigError::Header(name.clone());
    let parsed: HeaderName = name.parse().map_err(|_| refused())?;
    let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| refused())?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// An error with what caused it, which the outermost does not say.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    words
}
