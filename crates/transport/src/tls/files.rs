//! The files of a listener's TLS: read, understood, and refused with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use super::{CertificateFiles, Expiry, TlsOptions, identity};

/// Bytes of one file: certificates and keys have a few thousand, bundles and revocation lists may be long.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is wrong with a listener's TLS, and in which file.
#[derive(Debug, thiserror::Error)]
#[error("{}{}{fault}", file.display(), if file.as_os_str().is_empty() { "" } else { ": " })]
pub struct TlsError {
    /// The file; empty if it is none.
    pub file: PathBuf,
    /// What is wrong.
    #[source]
    pub fault: TlsFault,
}

/// What may be wrong with a file.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is larger than any such file is.
    #[error("has more than 16 MiB")]
    TooLarge,
    /// It has nothing in it.
    #[error("is empty")]
    Empty,
    /// It is no PEM.
    #[error("is no valid PEM: {0}")]
    Pem(String),
    /// It has no certificate in it.
    #[error("holds no certificate")]
    NoCertificate,
    /// It has no key in it.
    #[error("holds no private key")]
    NoKey,
    /// Its key needs a password.
    #[error(
        "holds an encrypted private key, which cannot be used: store it decrypted, readable by the broker only"
    )]
    EncryptedKey,
    /// It has no revocation list in it.
    #[error("holds no certificate revocation list")]
    NoRevocations,
    /// A revocation list in it is of a form that has no extensions, and so no number.
    #[error(
        "holds a revocation list of X.509 version 1; version 2 is needed, which openssl makes if it has a `crlnumber`"
    )]
    OldRevocations,
    /// A certificate in it cannot be understood.
    #[error("certificate {0} is malformed")]
    Malformed(usize),
    /// A certificate in it is not valid any more.
    #[error("certificate {position} (`{subject}`) has expired on {since}")]
    Expired {
        /// Which one, from 1.
        position: usize,
        /// Whose it is.
        subject: Box<str>,
        /// Since when.
        since: String,
    },
    /// A certificate in it is not valid yet.
    #[error("certificate {position} (`{subject}`) is valid from {from} only")]
    NotYetValid {
        /// Which one, from 1.
        position: usize,
        /// Whose it is.
        subject: Box<str>,
        /// From when on.
        from: String,
    },
    /// The key is of a kind that cannot be used.
    #[error("the private key cannot be used: {0}")]
    Key(rustls::Error),
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate in {}", .0.display())]
    KeyMismatch(PathBuf),
    /// Client certificates are wanted and there is no authority to judge them by.
    #[error("client certificates need at least one authority")]
    NoAuthority,
    /// The listener has no certificate.
    #[error("the listener needs at least one certificate")]
    NoChain,
    /// An authority or a revocation list cannot be used.
    #[error("cannot be used: {0}")]
    Unusable(String),
}

impl TlsError {
    pub(super) fn new(file: &Path, fault: TlsFault) -> Self {
        Self { file: file.into(), fault }
    }

    pub(super) fn of_the_system(error: rustls::Error) -> Self {
        Self { file: PathBuf::new(), fault: TlsFault::Unusable(error.to_string()) }
    }
}

/// A certificate that can be shown to clients.
pub(super) struct Chain {
    pub(super) certified: Arc<CertifiedKey>,
    /// The names it is for.
    pub(super) names: Vec<Box<str>>,
    pub(super) expiries: Vec<Expiry>,
}

/// Reads a certificate with its key.
pub(super) fn chain(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<Chain, TlsError> {
    let certificates = certificates(&files.chain)?;
    let mut expiries = Vec::new();
    let mut names = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let parsed = parse(&files.chain, index, certificate)?;
        expiries.push(judge(&files.chain, index, &parsed, now)?);
        if index == 0 {
            names = dns_names(&parsed);
        }
    }
    let key = private_key(&files.key)?;
    let certified = CertifiedKey::from_der(certificates, key, provider).map_err(|error| {
        let is_mismatch = matches!(error, rustls::Error::InconsistentKeys(_));
        let fault = match is_mismatch {
            true => TlsFault::KeyMismatch(files.chain.clone()),
            false => TlsFault::Key(error),
        };
        TlsError::new(&files.key, fault)
    })?;
    Ok(Chain { certified: Arc::new(certified), names, expiries })
}

/// All certificates of a file, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<CertificateDer<'static>> = sections(file, &read(file)?)?;
    if found.is_empty() { Err(TlsError::new(file, TlsFault::NoCertificate)) } else { Ok(found) }
}

/// All revocation lists of a file, at least one.
pub(super) fn revocations(
    file: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found: Vec<CertificateRevocationListDer<'static>> = sections(file, &read(file)?)?;
    if found.is_empty() {
        return Err(TlsError::new(file, TlsFault::NoRevocations));
    }
    let is_old = |list: &CertificateRevocationListDer<'_>| {
        parse_x509_crl(list).is_ok_and(|(_, list)| list.version() != Some(X509Version::V2))
    };
    if found.iter().any(is_old) {
        return Err(TlsError::new(file, TlsFault::OldRevocations));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(file)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = text.windows(9).any(|word| word == b"ENCRYPTED");
            let fault = if encrypted { TlsFault::EncryptedKey } else { TlsFault::NoKey };
            Err(TlsError::new(file, fault))
        }
        Err(error) => Err(TlsError::new(file, TlsFault::Pem(error.to_string()))),
    }
}

fn sections<T: PemObject>(file: &Path, text: &[u8]) -> Result<Vec<T>, TlsError> {
    T::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::new(file, TlsFault::Pem(error.to_string())))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::new(file, TlsFault::Unreadable(error));
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(TlsError::new(file, TlsFault::TooLarge));
    }
    let text = fs::read(file).map_err(unreadable)?;
    if text.trim_ascii().is_empty() {
        return Err(TlsError::new(file, TlsFault::Empty));
    }
    Ok(text)
}

fn parse<'a>(
    file: &Path,
    index: usize,
    certificate: &'a CertificateDer<'static>,
) -> Result<X509Certificate<'a>, TlsError> {
    match parse_x509_certificate(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(_) => Err(TlsError::new(file, TlsFault::Malformed(index + 1))),
    }
}

/// Until when it is valid, if it is now.
fn judge(
    file: &Path,
    index: usize,
    certificate: &X509Certificate<'_>,
    now: SystemTime,
) -> Result<Expiry, TlsError> {
    let subject = identity::distinguished_name(certificate.subject());
    let validity = certificate.validity();
    // The last second belongs to it.
    let at = time(validity.not_after) + Duration::from_secs(1);
    let position = index + 1;
    if at <= now {
        let since = validity.not_after.to_string();
        return Err(TlsError::new(file, TlsFault::Expired { position, subject, since }));
    }
    if time(validity.not_before) > now {
        let from = validity.not_before.to_string();
        return Err(TlsError::new(file, TlsFault::NotYetValid { position, subject, from }));
    }
    Ok(Expiry { file: file.into(), subject, at })
}

fn time(time: ASN1Time) -> SystemTime {
    let secs = time.timestamp();
    let from_epoch = Duration::from_secs(secs.unsigned_abs());
    if secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(from_epoch).unwrap_or(SystemTime::UNIX_EPOCH)
    } else {
        SystemTime::UNIX_EPOCH + from_epoch
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::URI(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
        .collect()
}

/// What tells that a file is another one than before. Links are followed: where a directory is swapped by one link, as
/// Kubernetes does, the files behind it are others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Device and inode.
    place: (u64, u64),
}

/// The stamps of all files, in order; none for one that is not there.
pub(super) fn stamps(options: &TlsOptions) -> Vec<Stamp> {
    let chains = options.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
    let files = chains.chain(&options.client_authorities).chain(&options.client_revocations);
    files.map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let Ok(metadata) = fs::metadata(file) else {
        return Stamp { modified: None, bytes: 0, place: (0, 0) };
    };
    #[cfg(unix)]
    let place = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let place = (0, 0);
    Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), place }
}
