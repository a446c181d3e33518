//! HMAC-SHA-256, as SCRAM and the cache of results use it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Bytes of a SHA-256, and of its HMAC.
pub(crate) const SHA256_BYTES: usize = 32;

/// One HMAC over the parts, as if they were one text.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; SHA256_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The same where the parts must not run into each other: each is preceded by its length.
pub(crate) fn hmac_of_parts(key: &[u8], parts: &[&[u8]]) -> [u8; SHA256_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; SHA256_BYTES] {
    Sha256::digest(bytes).into()
}
