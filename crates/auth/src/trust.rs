//! Who may vouch for a service that is asked by TLS.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// A file that does not hold certificates.
#[derive(Debug)]
pub(crate) struct NoCertificates {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

/// The certificates of this file, or the system's.
pub(crate) fn roots(file: Option<&Path>) -> Result<RootCertStore, NoCertificates> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        // Where the system has none, no service can be asked by TLS, and each question says so; a file that cannot be read
        // beside others that can is no reason to ask nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let refused = |reason: String| NoCertificates { path: path.to_owned(), reason };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no block \"CERTIFICATE\"".to_owned()));
    }
    Ok(roots)
}
