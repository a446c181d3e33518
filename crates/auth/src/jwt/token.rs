//! A token as it arrives: header, claims and signature in base64url (RFC 7515, compact form).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::algorithm::Algorithm;
use super::rejection::Rejection;

/// Bytes of a header, decoded. Usual are fifty; keys and certificates that it may carry are of no use here.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// A token whose signature nobody has looked at yet, so that nothing in it is true.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) header: Header,
    /// What the signature is of: header and claims as they were sent.
    pub(super) signed: &'a [u8],
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// The members of the header that matter. Keys, certificates and addresses of keys in it (`jwk`, `x5c`, `jku`, `x5u`) are
/// never used: a token does not say what proves it.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    pub(super) kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl Header {
    /// The algorithm that it names.
    pub(super) fn algorithm(&self) -> Result<Algorithm, Rejection> {
        if self.crit.is_some() {
            return Err(Rejection::CriticalExtension);
        }
        Algorithm::parse(&self.alg).ok_or(Rejection::AlgorithmUnknown)
    }
}

/// Whether this looks like a token, so that whoever sent it meant one: it is not a password of another kind.
pub(super) fn looks_like_token(bytes: &[u8]) -> bool {
    parts(bytes).is_some_and(|[header, _, _]| decoded_header(header).is_some())
}

impl<'a> Token<'a> {
    pub(super) fn parse(bytes: &'a [u8], bytes_max: usize) -> Result<Self, Rejection> {
        if bytes.len() > bytes_max {
            return Err(Rejection::TooLong);
        }
        let [header, claims, signature] = parts(bytes).ok_or(Rejection::Malformed)?;
        let signed = bytes.get(..header.len() + 1 + claims.len()).ok_or(Rejection::Malformed)?;
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed);
        Ok(Self {
            header: decoded_header(header).ok_or(Rejection::Malformed)?,
            signed,
            claims: decoded(claims)?,
            signature: decoded(signature)?,
        })
    }
}

fn decoded_header(part: &[u8]) -> Option<Header> {
    if part.len() > HEADER_BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The three parts between the dots.
fn parts(bytes: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = bytes.split(|byte| *byte == b'.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}
