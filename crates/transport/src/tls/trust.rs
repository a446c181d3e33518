//! Whose certificates are believed: authorities, and what they revoked.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::files::{self, TlsError, TlsFault};
use super::{ClientCertificates, TlsOptions};

/// Who judges the certificates of clients; nobody if they are not asked for any.
pub(super) fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if options.client_certificates == ClientCertificates::Off {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for file in &options.client_authorities {
        for certificate in files::certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::new(file, TlsFault::Unusable(error.to_string())))?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError { file: PathBuf::new(), fault: TlsFault::NoAuthority });
    }
    let roots = Arc::new(roots);
    let builder =
        || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    let mut lists = Vec::new();
    for file in &options.client_revocations {
        let found = files::revocations(file)?;
        // Each file by itself first, so that the one that cannot be used is named.
        builder()
            .with_crls(found.clone())
            .build()
            .map_err(|error| TlsError::new(file, TlsFault::Unusable(error.to_string())))?;
        lists.extend(found);
    }
    let mut builder = builder().with_crls(lists);
    if options.client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| TlsError {
        file: PathBuf::new(),
        fault: TlsFault::Unusable(error.to_string()),
    })?;
    Ok(Some(verifier))
}
