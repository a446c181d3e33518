//! One address where clients connect, and what is offered there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dunlin_codec::Qos;
use dunlin_session::AcceptedVersions;
use dunlin_store::Durability;
use dunlin_transport::IpRange;
use dunlin_transport::http::{AllowedOrigins, HEAD_BYTES_MAX, PATH};
use dunlin_transport::tls::{
    CertificateFiles, ClientCertificates, Protocols, TlsOptions, TlsVersion, WATCH_EVERY,
};

use super::{AT_LEAST_ONE, Endpoint, InvalidConfig};

/// The shortest limit that leaves room for a request.
const HEAD_BYTES_LEAST: usize = 256;
/// The shortest silence that is not taken for the time a packet may be on its way.
const QUIC_IDLE_LEAST: Duration = Duration::from_secs(1);

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// MQTT and nothing else.
    #[default]
    Mqtt,
    /// MQTT within WebSocket.
    WebSocket,
    /// Both, told apart by the first bytes.
    Auto,
}

/// One address where clients connect, and what is offered there.
///
/// What is switched off is announced in CONNACK and enforced with its own reason code.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Its name in logs, metrics and messages. Unique.
    pub name: String,
    /// Where it listens. Port 0 takes a free port.
    pub address: Endpoint,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Whether a client may connect without credentials. By default only where no other machine reaches the listener.
    pub allow_anonymous: bool,
    /// The listener's anonymous user: the sessions of its anonymous clients are its own, and no anonymous client of a listener
    /// with another one gets them. None: they belong to the anonymous user of all listeners that name none. It is known by
    /// nothing else: to rules and logs such clients have no name.
    pub anonymous_user: Option<String>,
    /// The names of the authenticators that are asked about a client, in this order; see
    /// [`Builder::named_authenticator`](crate::Builder::named_authenticator). None: all, in the order in which they were added.
    pub authentication: Option<Vec<String>>,
    /// The protocol versions served. Others are refused with "unsupported protocol version".
    pub versions: AcceptedVersions,
    /// The highest QoS of a PUBLISH from a client, and granted to a subscription.
    pub maximum_qos: Qos,
    /// Whether clients may publish retained messages.
    pub retain_available: bool,
    /// Whether filters may hold `+` and `#`.
    pub wildcard_subscription_available: bool,
    /// Whether MQTT 5.0 clients may number their subscriptions.
    pub subscription_identifiers_available: bool,
    /// Whether `$share/{group}/{filter}` is served.
    pub shared_subscription_available: bool,
    /// What MQTT 5.0 clients that ask for it get as Response Information: by convention the beginning of topics for responses.
    pub response_information: Option<String>,
    /// Connections that have not yet completed CONNECT. At the limit accepting pauses, and the kernel's backlog fills.
    pub handshakes_max: u32,
    /// Open connections of this listener. A further one is closed at once. None: only [`Limits::connections_max`](super::Limits::connections_max)
    /// counts.
    pub connections_max: Option<u32>,
    /// Connections that the kernel completes and holds until they are accepted.
    pub backlog: u32,
    /// From accepting a connection until all that comes before MQTT is done, TLS and the like, waiting for its turn included.
    /// Later it is closed and counted.
    pub handshake_deadline: Duration,
    /// The certificate chains that the listener proves itself with, the server's own certificate first: PEM. If there is one,
    /// TLS is spoken. Of several the one is shown whose name the client asks for, else the first.
    pub tls_certificate: Vec<PathBuf>,
    /// Their private keys, in the same order: PEM, not encrypted.
    pub tls_key: Vec<PathBuf>,
    /// Whether clients prove who they are by a certificate.
    pub tls_client_certificates: ClientCertificates,
    /// Authorities that may have issued the certificates of clients: PEM, one or more in a file.
    pub tls_client_authorities: Vec<PathBuf>,
    /// Lists of revoked certificates: PEM. If there are any, each certificate of a client's chain has to be covered by one.
    pub tls_client_revocations: Vec<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub tls_minimum: TlsVersion,
    /// Whether a client gets a ticket by which it comes back with a shorter handshake.
    pub tls_tickets: bool,
    /// How often these files are looked at. Changed ones are used for whoever connects from then on, once they have stood still
    /// for as long; while they are not good, what was read before is used.
    pub tls_watch_interval: Duration,
    /// The path of WebSocket requests. Others are answered 404.
    pub websocket_path: String,
    /// The pages whose scripts may connect by WebSocket; programs that are no browser name none and are not asked. None: no
    /// page where anonymous clients are let in, else every page, since whoever connects has to prove who he is.
    pub websocket_origins: Option<AllowedOrigins>,
    /// Whether a WebSocket request has to name the subprotocol `mqtt`, as the standard asks. [MQTT-6.0.0-3]
    pub websocket_require_subprotocol: bool,
    /// Bytes of a WebSocket request's head. A longer one is answered 431.
    pub websocket_head_bytes_max: usize,
    /// Proxies that are believed when they name the client in `X-Forwarded-For` or `X-Real-IP`.
    pub websocket_trusted_proxies: Vec<IpRange>,
    /// Set if each connection begins with a PROXY header, and then the addresses that may send one; everybody else is
    /// refused. On a Unix socket everybody may who can open it.
    pub proxy_protocol_from: Option<Vec<IpRange>>,
    /// Whether small writes leave at once. Packets are gathered before they are written, so they should.
    pub tcp_nodelay: bool,
    /// Silence after which a TCP peer is probed, every 15 s and four times, so that one that is gone is noticed. In whole
    /// seconds. None: it is not probed.
    pub tcp_keepalive: Option<Duration>,
    /// How long what was written may stay unacknowledged by the peer's system (TCP_USER_TIMEOUT, on Linux). Then the
    /// connection is lost. None: as long as the kernel tries.
    pub tcp_user_timeout: Option<Duration>,
    /// How long a QUIC client may be silent before its connection is lost. It may ask for less.
    pub quic_idle_timeout: Duration,
    /// How often a silent QUIC client is asked for a sign of life, which keeps the ways through NATs open too. Less than
    /// `quic_idle_timeout`. None: it is not asked, and has to see to it itself, whatever its MQTT Keep Alive is.
    pub quic_keep_alive: Option<Duration>,
    /// Whether other processes of the same user may listen on the same address, the kernel spreading clients over them.
    pub reuse_port: bool,
    /// Bytes of the kernel's receive buffer of each TCP client. None: the kernel sizes it as it goes.
    pub receive_buffer_bytes: Option<usize>,
    /// Bytes of the kernel's send buffer of each TCP client. None: the kernel sizes it as it goes.
    pub send_buffer_bytes: Option<usize>,
    /// Permissions of the file of a Unix socket: who may write to it may connect.
    pub unix_mode: u32,
    /// Its owner, by name or number. None: whoever runs the process.
    pub unix_user: Option<String>,
    /// Its group, by name or number. None: that of whoever runs the process.
    pub unix_group: Option<String>,
    /// What an acknowledgement promises to the clients of this listener. None: [`Config::durability`](super::Config::durability).
    pub durability: Option<Durability>,
}

impl ListenerConfig {
    /// A listener that offers everything. Anonymous clients are allowed if only this machine reaches `address`.
    pub fn new(name: impl Into<String>, address: impl Into<Endpoint>) -> Self {
        let address = address.into();
        Self {
            name: name.into(),
            allow_anonymous: address.is_local(),
            anonymous_user: None,
            address,
            authentication: None,
            protocol: Protocol::Mqtt,
            versions: AcceptedVersions::default(),
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            response_information: None,
            handshakes_max: 1_024,
            connections_max: None,
            backlog: 1_024,
            handshake_deadline: Duration::from_secs(10),
            tls_certificate: Vec::new(),
            tls_key: Vec::new(),
            tls_client_certificates: ClientCertificates::Off,
            tls_client_authorities: Vec::new(),
            tls_client_revocations: Vec::new(),
            tls_minimum: TlsVersion::Tls12,
            tls_tickets: true,
            tls_watch_interval: WATCH_EVERY,
            websocket_path: PATH.to_owned(),
            websocket_origins: None,
            websocket_require_subprotocol: true,
            websocket_head_bytes_max: HEAD_BYTES_MAX,
            websocket_trusted_proxies: Vec::new(),
            proxy_protocol_from: None,
            tcp_nodelay: true,
            tcp_keepalive: Some(Duration::from_secs(60)),
            tcp_user_timeout: Some(Duration::from_secs(120)),
            quic_idle_timeout: Duration::from_secs(60),
            quic_keep_alive: Some(Duration::from_secs(20)),
            reuse_port: false,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            unix_mode: 0o660,
            unix_user: None,
            unix_group: None,
            durability: None,
        }
    }

    /// Whether only this machine can reach the listener: 127.0.0.0/8, ::1 or a Unix socket.
    pub fn is_local(&self) -> bool {
        self.address.is_local()
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.name.is_empty() {
            return Err(InvalidConfig::new("listeners", "holds a listener without a name"));
        }
        if self.versions == AcceptedVersions::NONE {
            return Err(self.invalid("versions", "must hold at least one version"));
        }
        if self.handshakes_max == 0 {
            return Err(self.invalid("handshakes_max", AT_LEAST_ONE));
        }
        if self.backlog == 0 {
            return Err(self.invalid("backlog", AT_LEAST_ONE));
        }
        if self.handshake_deadline.is_zero() {
            return Err(self.invalid("handshake_deadline", "must be more than 0s"));
        }
        if self.tcp_keepalive.is_some_and(|idle| idle.as_secs() == 0) {
            return Err(self.invalid("tcp_keepalive", "must be at least 1s, or none"));
        }
        if self.tcp_user_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(self.invalid("tcp_user_timeout", "must be more than 0s, or none"));
        }
        self.check_build()?;
        self.check_quic()?;
        self.check_tls()?;
        if !self.websocket_path.starts_with('/') || self.websocket_path.contains('?') {
            return Err(self.invalid("websocket_path", "must begin with / and hold no ?"));
        }
        if self.websocket_head_bytes_max < HEAD_BYTES_LEAST {
            return Err(self.invalid("websocket_head_bytes_max", "must be at least 256 bytes"));
        }
        if self.unix_mode > 0o777 {
            return Err(self.invalid("unix_mode", "must be permissions such as 660, at most 777"));
        }
        Ok(())
    }

    /// What the listener needs, this build has.
    fn check_build(&self) -> Result<(), InvalidConfig> {
        if !cfg!(feature = "tls") && !self.tls_certificate.is_empty() {
            return Err(self.invalid("tls_certificate", "must be empty: this build speaks no TLS"));
        }
        if !cfg!(feature = "quic") && matches!(self.address, Endpoint::Quic(_)) {
            return Err(self.invalid("address", "must not be of QUIC: this build speaks none"));
        }
        if !cfg!(feature = "websocket") && self.protocol != Protocol::Mqtt {
            return Err(self.invalid("protocol", "must be mqtt: this build speaks no WebSocket"));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), InvalidConfig> {
        if self.tls_certificate.len() != self.tls_key.len() {
            return Err(self.invalid("tls_key", "must name as many files as tls_certificate"));
        }
        let asked = self.tls_client_certificates != ClientCertificates::Off;
        if asked && self.tls_certificate.is_empty() {
            let reason = "must be off on a listener without tls_certificate";
            return Err(self.invalid("tls_client_certificates", reason));
        }
        if asked && self.tls_client_authorities.is_empty() {
            let reason = "must name a file, since clients are asked for certificates";
            return Err(self.invalid("tls_client_authorities", reason));
        }
        if self.tls_watch_interval.is_zero() {
            return Err(self.invalid("tls_watch_interval", "must be more than 0s"));
        }
        Ok(())
    }

    fn check_quic(&self) -> Result<(), InvalidConfig> {
        if self.quic_idle_timeout < QUIC_IDLE_LEAST {
            return Err(self.invalid("quic_idle_timeout", "must be at least 1s"));
        }
        if self
            .quic_keep_alive
            .is_some_and(|every| every.is_zero() || every >= self.quic_idle_timeout)
        {
            let reason = "must be more than 0s and less than quic_idle_timeout, or none";
            return Err(self.invalid("quic_keep_alive", reason));
        }
        if !matches!(self.address, Endpoint::Quic(_)) {
            return Ok(());
        }
        if self.tls_certificate.is_empty() {
            return Err(self.invalid("tls_certificate", "must name a file: QUIC needs one"));
        }
        if self.protocol != Protocol::Mqtt || self.proxy_protocol_from.is_some() {
            let reason = "must be mqtt, without PROXY headers, on a QUIC listener";
            return Err(self.invalid("protocol", reason));
        }
        Ok(())
    }

    /// What the listener's TLS is made of; none if it speaks none.
    pub(crate) fn tls(&self) -> Option<TlsOptions> {
        if self.tls_certificate.is_empty() {
            return None;
        }
        let files = self.tls_certificate.iter().zip(&self.tls_key);
        Some(TlsOptions {
            certificates: files
                .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() })
                .collect(),
            client_certificates: self.tls_client_certificates,
            client_authorities: self.tls_client_authorities.clone(),
            client_revocations: self.tls_client_revocations.clone(),
            minimum: self.tls_minimum,
            tickets: self.tls_tickets,
            protocols: match self.protocol {
                Protocol::Mqtt => Protocols::Mqtt,
                Protocol::WebSocket => Protocols::WebSocket,
                Protocol::Auto => Protocols::Both,
            },
        })
    }

    pub(super) fn invalid(&self, key: &str, reason: &'static str) -> InvalidConfig {
        InvalidConfig::new(format!("listeners.{}.{key}", self.name), reason)
    }
}

impl Default for ListenerConfig {
    /// 127.0.0.1:1883, for this machine's anonymous clients.
    fn default() -> Self {
        Self::new("default", SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)))
    }
}
