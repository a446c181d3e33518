//! One key that tokens are signed by, and the algorithms that are bound to it.

use std::fmt;

use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use aws_lc_rs::{digest, hmac};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::{PemObject, SectionKind};

use crate::Secret;

use super::algorithm::Algorithm;

/// Bytes of a file that holds one key. More is no key but a mistake, and is refused.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// Bits of an RSA modulus: fewer can be broken, more cost too much time for each login.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Bytes of an RSA exponent. Usual are three.
const RSA_EXPONENT_BYTES_MAX: usize = 8;

/// A key that tokens are signed by. It knows for which algorithms it is; a token that names another one is refused,
/// whatever its signature is.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

#[derive(Clone)]
enum Verifier {
    /// Boxed, because it is twenty times as large as the other.
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// Why something is no key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It is longer than [`KEY_BYTES_MAX`].
    #[error("it has more than {KEY_BYTES_MAX} bytes, which is too much for a key")]
    TooLong,
    /// There is no block `PUBLIC KEY`.
    #[error("it holds no PEM block \"PUBLIC KEY\"; `openssl pkey -pubout` writes one")]
    NotPem,
    /// There is a private key, which has no business here.
    #[error(
        "it holds a private key; verifying needs the public one only, which `openssl pkey -pubout` writes"
    )]
    PrivateKey,
    /// The key is of another kind, or damaged.
    #[error("it is no key for RSA, for ECDSA on P-256, P-384 or P-521, or for Ed25519")]
    Unknown,
    /// The RSA modulus is out of range.
    #[error("an RSA key must have 2048 to 8192 bits")]
    RsaSize,
    /// The secret is shorter than the algorithm's hash.
    #[error(
        "the secret is shorter than the {0} bytes that its algorithm asks for (RFC 7518, section 3.2)"
    )]
    SecretTooShort(usize),
    /// What was given as a secret is a key in PEM, which everybody may know.
    #[error(
        "the secret is a key in PEM form: a public key is no secret, and tokens signed by it prove nothing"
    )]
    SecretIsKey,
    /// The algorithms that were asked for do not go with the key.
    #[error("none of the algorithms asked for goes with this key")]
    NoAlgorithm,
}

impl Key {
    /// A secret that signer and broker share, for those of `algorithms` that begin with HS; all three if it is empty.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the secret is shorter than the hash of one of them, is a PEM file, or none of them is HS.
    pub fn secret(
        id: Option<String>,
        secret: &Secret,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let secret = secret.expose();
        if secret.windows(11).any(|window| window == b"-----BEGIN ") {
            return Err(KeyError::SecretIsKey);
        }
        let hashes = [
            (Algorithm::Hs256, hmac::HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            (Algorithm::Hs384, hmac::HMAC_SHA384, digest::SHA384_OUTPUT_LEN),
            (Algorithm::Hs512, hmac::HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        ];
        let mut verifiers = Vec::new();
        for (algorithm, hash, bytes_min) in hashes {
            let named = algorithms.contains(&algorithm);
            if secret.len() < bytes_min {
                // Where none is named, a secret is for the algorithms that it is long enough for.
                if named || algorithm == Algorithm::Hs256 {
                    return Err(KeyError::SecretTooShort(bytes_min));
                }
            } else if named || algorithms.is_empty() {
                verifiers
                    .push((algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret)))));
            }
        }
        Self::checked(id, verifiers)
    }

    /// A public key in PEM form (`BEGIN PUBLIC KEY`), for those of `algorithms` that go with its kind; all of these if it is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when there is no such key, or none of the algorithms goes with it.
    pub fn public_pem(
        id: Option<String>,
        pem: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        if pem.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        if has_private_key(pem) {
            return Err(KeyError::PrivateKey);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        Self::public_der(id, &der, algorithms)
    }

    /// The same, from the bytes of a SubjectPublicKeyInfo.
    fn public_der(
        id: Option<String>,
        der: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        for (algorithm, kind) in CURVES {
            if let Ok(key) = ParsedPublicKey::new(kind, der) {
                return Self::single(id, algorithm, key, algorithms);
            }
        }
        let (_, first) = RSA[0];
        if ParsedPublicKey::new(first, der).is_err() {
            return Err(KeyError::Unknown);
        }
        // This type refuses a modulus out of range; the other only when it verifies.
        PublicEncryptingKey::from_der(der).map_err(|_| KeyError::RsaSize)?;
        Self::rsa(id, algorithms, |kind| ParsedPublicKey::new(kind, der).ok())
    }

    /// An RSA key from modulus and exponent, big-endian.
    pub(super) fn rsa_components(
        id: Option<String>,
        modulus: &[u8],
        exponent: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.first().map_or(0, |first| {
            modulus.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0)
        });
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize);
        }
        if exponent.len() > RSA_EXPONENT_BYTES_MAX {
            return Err(KeyError::Unknown);
        }
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        Self::rsa(id, algorithms, |kind| components.to_parsed_public_key(kind).ok())
    }

    /// A key on `curve` from its point, as SEC 1 writes it uncompressed, or as RFC 8032 does.
    pub(super) fn point(
        id: Option<String>,
        curve: Algorithm,
        point: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let kind = CURVES.iter().find(|(algorithm, _)| *algorithm == curve);
        let (_, kind) = kind.ok_or(KeyError::Unknown)?;
        let key = ParsedPublicKey::new(*kind, point).map_err(|_| KeyError::Unknown)?;
        Self::single(id, curve, key, algorithms)
    }

    fn single(
        id: Option<String>,
        algorithm: Algorithm,
        key: ParsedPublicKey,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let verifiers = vec![(algorithm, Verifier::Public(key))];
        let wanted = algorithms.is_empty() || algorithms.contains(&algorithm);
        Self::checked(id, if wanted { verifiers } else { Vec::new() })
    }

    fn rsa(
        id: Option<String>,
        algorithms: &[Algorithm],
        parse: impl Fn(&'static RsaParameters) -> Option<ParsedPublicKey>,
    ) -> Result<Self, KeyError> {
        let wanted = RSA
            .iter()
            .filter(|(algorithm, _)| algorithms.is_empty() || algorithms.contains(algorithm));
        let verifiers = wanted
            .map(|(algorithm, kind)| Some((*algorithm, Verifier::Public(parse(kind)?))))
            .collect::<Option<Vec<_>>>();
        Self::checked(id, verifiers.ok_or(KeyError::Unknown)?)
    }

    fn checked(
        id: Option<String>,
        verifiers: Vec<(Algorithm, Verifier)>,
    ) -> Result<Self, KeyError> {
        if verifiers.is_empty() { Err(KeyError::NoAlgorithm) } else { Ok(Self { id, verifiers }) }
    }

    /// The name by which tokens choose it (`kid`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The algorithms that are bound to it.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Whether `signature` is one of `message` by this key: none if the algorithm does not go with the key.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let (_, verifier) = self.verifiers.iter().find(|(bound, _)| *bound == algorithm)?;
        Some(match verifier {
            // Compared in constant time.
            Verifier::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
        })
    }
}

impl fmt::Debug for Key {
    /// Leaves out what may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.algorithms().map(Algorithm::name).collect();
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &algorithms).finish()
    }
}

/// The kinds of key that have one algorithm each.
const CURVES: [(Algorithm, &dyn VerificationAlgorithm); 4] = [
    (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
    (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
    (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
    (Algorithm::EdDsa, &ED25519),
];

/// What an RSA key can be for.
const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

fn has_private_key(pem: &[u8]) -> bool {
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    sections.any(|section| match section {
        Ok((
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey,
            _,
        )) => true,
        Ok(_) | Err(_) => false,
    })
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
