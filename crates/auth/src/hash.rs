//! Password hashes as files and databases hold them: Argon2id, the two of Mosquitto, and bcrypt.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD, STANDARD};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::random;
use crate::workers::Scratch;

/// Bytes of a password. A longer one is a wrong one, since hashing costs time by length; none that is set may be longer.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// KiB that one Argon2 hash may ask for. A file that asks for more is refused, since each thread that hashes would take them.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Passes that one Argon2 hash may ask for. A file that asks for more is refused.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// Lanes that one Argon2 hash may ask for. A file that asks for more is refused.
pub const ARGON2_LANES_MAX: u32 = 64;
/// Iterations that one PBKDF2 hash may ask for: a few seconds. A file that asks for more is refused.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Cost that one bcrypt hash may ask for, the exponent of its rounds: a few seconds. One that asks for more is refused.
pub const BCRYPT_COST_MAX: u32 = 15;

/// The least cost that there is.
const BCRYPT_COST_MIN: u32 = 4;
/// Bytes of a bcrypt salt, and letters that it is written with.
const BCRYPT_SALT: (usize, usize) = (16, 22);
/// Bytes of a bcrypt hash.
const BCRYPT_HASH_BYTES: usize = 23;
/// Bytes of a password that bcrypt looks at, the zero at its end included.
const BCRYPT_PASSWORD_BYTES: usize = 72;

/// Bytes of a salt in a file.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 1..=128;
/// Argon2 takes no shorter salt.
const ARGON2_SALT_BYTES_MIN: usize = 8;
/// Bytes of an Argon2 hash in a file.
const ARGON2_HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Bytes of the hashes that are made here.
const MADE_HASH_BYTES: usize = 32;
/// Bytes of the salts that are made here.
const MADE_SALT_BYTES: usize = 16;
/// Bytes of a SHA-512.
const SHA512_BYTES: usize = 64;

/// Mosquitto pads, the PHC string format of Argon2 does not; both are read either way.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// bcrypt has letters of its own, and does not say what their last bits are.
const BASE64_BCRYPT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
const BASE64_UNPADDED: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, NO_PAD);

/// What is kept of a password.
///
/// | Written as | Means |
/// |---|---|
/// | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH` | Argon2id, which is what [`PasswordHash::make`] makes |
/// | `$6$SALT$HASH` | SHA-512 of password and salt, as Mosquitto 1 wrote it: too fast, read for the sake of what is there |
/// | `$7$ITERATIONS$SALT$HASH` | PBKDF2 with HMAC-SHA-512, as Mosquitto 2 writes it |
/// | `$2b$COST$SALTHASH`, `$2a$..`, `$2y$..` | bcrypt, which looks at the first 72 bytes of a password |
/// | `*` | none: nobody comes in by a password |
///
/// `Display` writes what `FromStr` reads. `Debug` shows the kind alone.
///
/// ```
/// use dunlin_auth::{PasswordHash, Scratch};
///
/// let hash = PasswordHash::make(b"correct horse")?;
/// let read: PasswordHash = hash.to_string().parse()?;
/// assert!(read.verify(b"correct horse", &mut Scratch::default()));
/// assert!(!read.verify(b"battery staple", &mut Scratch::default()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(Kind);

#[derive(Clone, Eq, PartialEq)]
enum Kind {
    Argon2id { params: Params, salt: Box<[u8]>, hash: Box<[u8]> },
    Sha512 { salt: Box<[u8]>, hash: [u8; SHA512_BYTES] },
    Pbkdf2Sha512 { iterations: u32, salt: Box<[u8]>, hash: [u8; SHA512_BYTES] },
    Bcrypt { version: char, cost: u32, salt: [u8; BCRYPT_SALT.0], hash: [u8; BCRYPT_HASH_BYTES] },
    Locked,
}

/// Why a text is no password hash.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHash {
    /// It begins like none that is known.
    #[error("is no password hash: it must begin with $argon2id$, $6$, $7$ or $2b$, or be *")]
    Unknown,
    /// It has not the parts that its beginning promises.
    #[error("is not complete")]
    Incomplete,
    /// A part is no base64, or has not the right length.
    #[error("holds a part that is no base64 of the right length")]
    Base64,
    /// A parameter is missing, no number, or out of bounds.
    #[error("asks for parameters that are wrong or cost too much")]
    Parameters,
}

/// Why no hash can be made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotHash {
    /// There is no password.
    #[error("an empty password is none")]
    Empty,
    /// The password is longer than [`PASSWORD_BYTES_MAX`].
    #[error("a password may have {PASSWORD_BYTES_MAX} bytes at the most")]
    TooLong,
    /// The system gives no randomness for a salt.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl PasswordHash {
    /// What stands for nobody's password.
    pub const LOCKED: Self = Self(Kind::Locked);

    /// An Argon2id hash with a salt of its own: 19 MiB, two passes, one lane, as the OWASP recommends.
    ///
    /// # Errors
    ///
    /// [`CannotHash`] when the password is empty or too long, or there is no randomness.
    pub fn make(password: &[u8]) -> Result<Self, CannotHash> {
        Self::make_with(Params::DEFAULT, password)
    }

    pub(crate) fn make_with(params: Params, password: &[u8]) -> Result<Self, CannotHash> {
        if password.is_empty() {
            return Err(CannotHash::Empty);
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(CannotHash::TooLong);
        }
        let salt: [u8; MADE_SALT_BYTES] = random::bytes().map_err(|_| CannotHash::NoRandomness)?;
        let mut hash = [0; MADE_HASH_BYTES];
        argon2id(&params, password, &salt, &mut hash, &mut Scratch::default());
        Ok(Self(Kind::Argon2id { params, salt: salt.into(), hash: hash.into() }))
    }

    /// Whether this is the password. How long that takes depends on the parameters and not on the answer.
    #[must_use]
    pub fn verify(&self, password: &[u8], scratch: &mut Scratch) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match &self.0 {
            Kind::Argon2id { params, salt, hash } => {
                let mut computed = vec![0; hash.len()];
                argon2id(params, password, salt, &mut computed, scratch)
                    && computed.ct_eq(hash).into()
            }
            Kind::Sha512 { salt, hash } => {
                let computed = Sha512::new().chain_update(password).chain_update(salt).finalize();
                computed.as_slice().ct_eq(hash).into()
            }
            Kind::Pbkdf2Sha512 { iterations, salt, hash } => {
                let mut computed = [0; SHA512_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut computed);
                computed.ct_eq(hash).into()
            }
            Kind::Bcrypt { cost, salt, hash, .. } => {
                // As the original has it: up to 72 bytes, with a zero at the end.
                let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 1));
                bytes.extend_from_slice(password);
                bytes.push(0);
                bytes.truncate(BCRYPT_PASSWORD_BYTES);
                let computed = bcrypt::bcrypt(*cost, *salt, &bytes);
                // Its last byte was never written anywhere.
                computed
                    .get(..BCRYPT_HASH_BYTES)
                    .is_some_and(|computed| computed.ct_eq(hash).into())
            }
            Kind::Locked => false,
        }
    }

    /// Whether no password fits.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self.0, Kind::Locked)
    }

    /// Whether hashing is too fast to keep a stolen file from being searched: the SHA-512 of Mosquitto 1.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        matches!(self.0, Kind::Sha512 { .. })
    }
}

/// `false` where the parameters allow no hash, which those that were read or made here always do.
fn argon2id(
    params: &Params,
    password: &[u8],
    salt: &[u8],
    hash: &mut [u8],
    scratch: &mut Scratch,
) -> bool {
    let blocks = params.block_count();
    if scratch.blocks.len() < blocks {
        scratch.blocks.resize_with(blocks, argon2::Block::new);
    }
    let memory = scratch.blocks.get_mut(..blocks).unwrap_or_default();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password, salt, hash, memory).is_ok()
}

impl FromStr for PasswordHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        if text == "*" {
            return Ok(Self::LOCKED);
        }
        let mut parts = text.split('$');
        let mut part = || parts.next().ok_or(InvalidHash::Incomplete);
        if !part()?.is_empty() {
            return Err(InvalidHash::Unknown);
        }
        let kind = match part()? {
            "argon2id" => {
                if part()? != "v=19" {
                    return Err(InvalidHash::Parameters);
                }
                let params = part()?;
                let (salt, hash) = (salt(part()?)?, decode(part()?)?);
                if salt.len() < ARGON2_SALT_BYTES_MIN || !ARGON2_HASH_BYTES.contains(&hash.len()) {
                    return Err(InvalidHash::Base64);
                }
                let params = argon2_params(params, hash.len())?;
                Kind::Argon2id { params, salt, hash: hash.into() }
            }
            "6" => Kind::Sha512 { salt: salt(part()?)?, hash: sha512(part()?)? },
            "7" => {
                let iterations = number(part()?)?;
                if !(1..=PBKDF2_ITERATIONS_MAX).contains(&iterations) {
                    return Err(InvalidHash::Parameters);
                }
                Kind::Pbkdf2Sha512 { iterations, salt: salt(part()?)?, hash: sha512(part()?)? }
            }
            version @ ("2a" | "2b" | "2y") => {
                let cost = part()?;
                let letters = part()?;
                let (salt, hash) =
                    letters.split_at_checked(BCRYPT_SALT.1).ok_or(InvalidHash::Incomplete)?;
                let cost = number(cost).ok().filter(|_| cost.len() == 2);
                let costs = BCRYPT_COST_MIN..=BCRYPT_COST_MAX;
                let cost = cost.filter(|cost| costs.contains(cost));
                Kind::Bcrypt {
                    version: version.chars().last().unwrap_or('b'),
                    cost: cost.ok_or(InvalidHash::Parameters)?,
                    salt: bcrypt_part(salt)?,
                    hash: bcrypt_part(hash)?,
                }
            }
            _ => return Err(InvalidHash::Unknown),
        };
        if parts.next().is_some() { Err(InvalidHash::Incomplete) } else { Ok(Self(kind)) }
    }
}

/// `m=19456,t=2,p=1`, in this order as the format has it.
fn argon2_params(text: &str, hash_bytes: usize) -> Result<Params, InvalidHash> {
    let mut parts = text.split(',');
    let mut value = |name: &str| {
        let part = parts.next().and_then(|part| part.strip_prefix(name)?.strip_prefix('='));
        number(part.ok_or(InvalidHash::Parameters)?)
    };
    let (memory, passes, lanes) = (value("m")?, value("t")?, value("p")?);
    let is_bounded = memory <= ARGON2_MEMORY_KIB_MAX
        && passes <= ARGON2_PASSES_MAX
        && (1..=ARGON2_LANES_MAX).contains(&lanes);
    if !is_bounded || parts.next().is_some() {
        return Err(InvalidHash::Parameters);
    }
    Params::new(memory, passes, lanes, Some(hash_bytes)).map_err(|_| InvalidHash::Parameters)
}

/// Digits alone: `parse` would take a sign too.
fn number(text: &str) -> Result<u32, InvalidHash> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidHash::Parameters);
    }
    text.parse().map_err(|_| InvalidHash::Parameters)
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidHash> {
    BASE64.decode(text).map_err(|_| InvalidHash::Base64)
}

fn salt(text: &str) -> Result<Box<[u8]>, InvalidHash> {
    let salt = decode(text)?;
    if SALT_BYTES.contains(&salt.len()) { Ok(salt.into()) } else { Err(InvalidHash::Base64) }
}

fn bcrypt_part<const N: usize>(text: &str) -> Result<[u8; N], InvalidHash> {
    let bytes = BASE64_BCRYPT.decode(text).map_err(|_| InvalidHash::Base64)?;
    bytes.try_into().map_err(|_| InvalidHash::Base64)
}

fn sha512(text: &str) -> Result<[u8; SHA512_BYTES], InvalidHash> {
    decode(text)?.try_into().map_err(|_| InvalidHash::Base64)
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Argon2id { params, salt, hash } => {
                let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
                let (salt, hash) = (BASE64_UNPADDED.encode(salt), BASE64_UNPADDED.encode(hash));
                write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
            }
            Kind::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Kind::Pbkdf2Sha512 { iterations, salt, hash } => {
                write!(f, "$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Kind::Bcrypt { version, cost, salt, hash } => {
                let (salt, hash) = (BASE64_BCRYPT.encode(salt), BASE64_BCRYPT.encode(hash));
                write!(f, "$2{version}${cost:02}${salt}{hash}")
            }
            Kind::Locked => f.write_str("*"),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Argon2id { .. } => "PasswordHash(argon2id)",
            Kind::Sha512 { .. } => "PasswordHash(sha512)",
            Kind::Pbkdf2Sha512 { .. } => "PasswordHash(pbkdf2-sha512)",
            Kind::Bcrypt { .. } => "PasswordHash(bcrypt)",
            Kind::Locked => "PasswordHash(none)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `mosquitto_passwd` 2.0.11 of Debian, the first with `-H sha512`.
    const MOSQUITTO: [(&str, &str); 3] = [
        (
            "battery staple",
            "$6$0OcvEqZto2KVB7yO$P0WPIrJ2F681eyhtCD3cZtzrngknTi2+oGvTffHjs/2nXITV5IMlnZO+I/UJuqZ/fG1BoPIXbfna86oZtqA9PA==",
        ),
        (
            "correct horse",
            "$7$101$uQW4vgOJ7xWNw7St$rtP57cJnRauBXi8KX26MzvOMJnbcBiUojR/kqx4PZbf6omjjzZmSbNyK1d84uOt0MfCAIzdvn9M1yqKyg44MoQ==",
        ),
        (
            "пароль",
            "$7$101$6b0/LPSkN/zVwZR2$fVvTJjjFtFIF2yYNAqs0bo3OSiwJuoeb8LrDwUG9stiHQ/kvwobiR/JBecpLBH0/mzS4H0qnm2SeMftacMNCAg==",
        ),
    ];

    /// Written by `argon2` 20171227 of Debian: `argon2 somesalt -id -t 2 -k 64 -p 1 -l 24 -e` and such.
    const ARGON2: [(&str, &str); 2] = [
        (
            "correct horse",
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$U/SnxenmUu7H2uOA9+RflzVZh7FCigmR",
        ),
        (
            "battery staple",
            "$argon2id$v=19$m=256,t=1,p=4$YW5vdGhlciBzYWx0IGhlcmU$BmqzFW0BG3JgeSQXcAEnPAVx2iQYNIqPQ1iXYK4Y0jY",
        ),
    ];

    /// Written by `crypt(3)` of Debian's libxcrypt 4.4.
    const BCRYPT: [(&str, &str); 3] = [
        ("correct horse", "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"),
        ("пароль", "$2y$04$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S"),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "$2a$04$......................SZFhVdUK5wGKY4lx/QrgUMHG0XsWjbi",
        ),
    ];

    fn fits(hash: &PasswordHash, password: &str) -> bool {
        hash.verify(password.as_bytes(), &mut Scratch::default())
    }

    #[test]
    fn what_others_wrote_is_read_and_written_as_it_was() {
        for (password, text) in MOSQUITTO.into_iter().chain(ARGON2).chain(BCRYPT) {
            let hash: PasswordHash = text.parse().expect(text);
            assert_eq!(hash.to_string(), text);
            assert!(fits(&hash, password), "{text}");
            let longer = format!("{password} ");
            // bcrypt does not see the 73rd byte.
            let longer = if password.len() == 72 { "y" } else { &longer };
            for wrong in ["", "x", longer, &password.to_uppercase()] {
                assert!(!fits(&hash, wrong), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_made_is_argon2id_with_a_salt_of_its_own() {
        let params = Params::new(8, 1, 1, Some(32)).expect("legal");
        let make = || PasswordHash::make_with(params.clone(), b"secret").expect("made");
        let hash = make();
        assert_ne!(hash, make());
        let read: PasswordHash = hash.to_string().parse().expect("legal");
        assert_eq!(read, hash);
        assert!(fits(&read, "secret") && !fits(&read, "Secret"));
        assert!(hash.to_string().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_eq!(format!("{hash:?}"), "PasswordHash(argon2id)");
    }

    #[test]
    fn nobody_has_the_password_of_a_lock_and_none_is_made_of_nothing() {
        assert_eq!("*".parse(), Ok(PasswordHash::LOCKED));
        assert_eq!(PasswordHash::LOCKED.to_string(), "*");
        assert!(!fits(&PasswordHash::LOCKED, "") && !fits(&PasswordHash::LOCKED, "*"));
        assert_eq!(PasswordHash::make(b""), Err(CannotHash::Empty));
        assert_eq!(PasswordHash::make(&[b'x'; 1_025]), Err(CannotHash::TooLong));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        use InvalidHash::{Base64, Incomplete, Parameters, Unknown};
        let hash64 = STANDARD.encode([0; 64]);
        let cases = [
            ("", Incomplete),
            ("plain", Unknown),
            ("$5$c2FsdA$aGFzaA", Unknown),
            ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Unknown),
            ("$", Unknown),
            ("$6", Incomplete),
            ("$6$c2FsdA", Incomplete),
            ("$6$c2FsdA$aGFzaA", Base64),
            (&format!("$6$c2Fs!A${hash64}"), Base64),
            (&format!("$6$${hash64}"), Base64),
            (&format!("$6$c2FsdA${hash64}$x"), Incomplete),
            (&format!("$7$0$c2FsdA${hash64}"), Parameters),
            (&format!("$7$+1$c2FsdA${hash64}"), Parameters),
            (&format!("$7$$c2FsdA${hash64}"), Parameters),
            (&format!("$7$10000001$c2FsdA${hash64}"), Parameters),
            (&format!("$7$99999999999$c2FsdA${hash64}"), Parameters),
            ("$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=8,t=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=8,t=1,p=1,x=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=7,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=8,t=65,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=4096,t=1,p=65$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", Parameters),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAA", Base64),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA", Base64),
            ("$2x$04$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S", Unknown),
            ("$2b$03$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S", Parameters),
            ("$2b$16$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S", Parameters),
            ("$2b$4$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S", Parameters),
            ("$2b$04$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30", Base64),
            ("$2b$04$......................ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30SS", Base64),
            ("$2b$04$.....................+ZyU.8W1HLXcxB/B3PMsDtCb.NMFo30S", Base64),
            ("$2b$04$........", Incomplete),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<PasswordHash>(), Err(expected), "{text}");
        }
    }
}
