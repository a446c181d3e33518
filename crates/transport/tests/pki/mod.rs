//! An authority, the certificates it issues, and clients that use them.
#![allow(dead_code, reason = "each test program uses its part of it")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "quic")]
use dunlin_transport::quic;
use dunlin_transport::tcp::{self, ListenOptions};
use dunlin_transport::tls::{CertificateFiles, Tls, TlsOptions};
use dunlin_transport::{Acceptor, Bound, Door, Opened, Refused, Stream};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) type Files = CertificateFiles;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority with a folder of its own for all files.
pub(crate) struct Authority {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) file: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What is to be issued.
pub(crate) struct Request {
    pub(crate) name: &'static str,
    pub(crate) names: Vec<SanType>,
    pub(crate) valid_from: SystemTime,
    pub(crate) valid_to: SystemTime,
    pub(crate) serial: u64,
}

impl Request {
    pub(crate) fn new(name: &'static str) -> Self {
        let now = SystemTime::now();
        Self {
            name,
            names: vec![SanType::DnsName(name.try_into().expect("a name"))],
            valid_from: now - DAY,
            valid_to: now + 90 * DAY,
            serial: 0x1234_5678,
        }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("Test authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.path().join("authority.pem");
        fs::write(&file, certificate.pem()).expect("a file");
        let der = certificate.der().clone();
        Self { folder, file, certificate: der, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for `name`, with a key of its own.
    pub(crate) fn issue(&self, name: &'static str) -> CertificateFiles {
        self.issue_as(&Request::new(name), name)
    }

    /// Writes what was issued to files that begin with `file`.
    pub(crate) fn issue_as(&self, request: &Request, file: &str) -> CertificateFiles {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.sign(request, &key);
        let files = CertificateFiles {
            chain: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&files.chain, certificate).expect("a file");
        fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }

    pub(crate) fn sign(&self, request: &Request, key: &KeyPair) -> String {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = request.names.clone();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
        params.distinguished_name.push(DnType::CommonName, request.name);
        params.not_before = request.valid_from.into();
        params.not_after = request.valid_to.into();
        params.serial_number = Some(SerialNumber::from(request.serial));
        params.signed_by(key, &self.issuer).expect("a certificate").pem()
    }

    /// A list that revokes certificates with these serial numbers.
    pub(crate) fn revoke(&self, serials: &[u64], file: &str) -> PathBuf {
        let now = SystemTime::now();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + 30 * DAY).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list").pem().expect("a text");
        let path = self.path(file);
        fs::write(&path, list).expect("a file");
        path
    }

    /// What a client of this authority's servers uses.
    pub(crate) fn client(&self, client: Client<'_>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(client.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match client.certificate {
            Some(files) => config
                .with_client_auth_cert(chain(&files.chain), key(&files.key))
                .expect("a certificate"),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = client.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// How a client comes.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) certificate: Option<&'a CertificateFiles>,
    pub(crate) alpn: &'a [&'a str],
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, certificate: None, alpn: &[] }
    }
}

pub(crate) fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    let chain = CertificateDer::pem_file_iter(file).expect("a file");
    chain.collect::<Result<_, _>>().expect("certificates")
}

pub(crate) fn key(file: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(file).expect("a key")
}

/// TLS with the certificates of these names.
pub(crate) fn options(certificates: &[&CertificateFiles]) -> TlsOptions {
    let mut options = TlsOptions::new("", "");
    options.certificates = certificates.iter().map(|files| (*files).clone()).collect();
    options
}

/// A listener with one door.
pub(crate) struct Listener {
    pub(crate) door: Door,
    pub(crate) address: SocketAddr,
    acceptor: Acceptor,
    small: bool,
}

impl Listener {
    pub(crate) fn new(options: TlsOptions) -> Self {
        Self::with_tls(Arc::new(Tls::load(options).expect("good files")))
    }

    /// The same by QUIC.
    #[cfg(feature = "quic")]
    pub(crate) fn quic(options: TlsOptions) -> Self {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let bound = quic::bind(loopback, &ListenOptions::default()).expect("a free port");
        Self::bound(bound, Arc::new(Tls::load(options).expect("good files")))
    }

    pub(crate) fn with_tls(tls: Arc<Tls>) -> Self {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        Self::bound(tcp::bind(loopback, &ListenOptions::default()).expect("a free port"), tls)
    }

    fn bound(bound: Bound, tls: Arc<Tls>) -> Self {
        let mut door = Door::default();
        door.tls = Some(tls);
        let address = bound.place().expect("a place").address().expect("an address");
        Self { door, address, acceptor: bound.into_acceptor().expect("an acceptor"), small: false }
    }

    /// From now on the kernel takes a few KiB from each side only.
    pub(crate) fn shrink_buffers(&mut self) {
        self.small = true;
    }

    /// Lets the next client in.
    pub(crate) async fn open(&self) -> Result<Opened, Refused> {
        let accepted = self.acceptor.accept().await.expect("a client");
        if let (true, Stream::Tcp(socket)) = (self.small, &accepted.stream) {
            let socket = socket2::SockRef::from(socket);
            socket.set_send_buffer_size(4096).expect("an option");
            socket.set_recv_buffer_size(4096).expect("an option");
        }
        self.door.open(accepted).await
    }

    /// Both ends of one connection, as far as they came.
    pub(crate) async fn meet(
        &self,
        client: &Arc<ClientConfig>,
        name: &'static str,
    ) -> (Result<Opened, Refused>, std::io::Result<TlsStream<TcpStream>>) {
        tokio::join!(self.open(), connect(self.address, client, name))
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(Arc::clone(client)).connect(name, socket).await
}
