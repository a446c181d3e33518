//! SCRAM-SHA-256 as a server speaks it: RFC 5802 with the hash of RFC 7677.
//!
//! The client proves that it knows the password without showing it, and the server that it has the verifier. Nothing here
//! reads a clock, a file or a socket; the nonce is an argument, so that the examples of the standard can be run as they are.
//!
//! Channel binding (SCRAM-SHA-256-PLUS) is not offered: MQTT clients do not ask for it, and a proxy that ends TLS would break
//! it. A client that demands it is refused.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::hash::{CannotHash, PASSWORD_BYTES_MAX, PBKDF2_ITERATIONS_MAX};
use crate::mac::{SHA256_BYTES, hmac, sha256};
use crate::random;

/// The Authentication Method.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Bytes of a message from a client. A longer one is refused.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// Iterations of the verifiers that are made here: the least that RFC 7677 allows, since the client has to compute them each
/// time it connects, and may be a small device.
pub const ITERATIONS: u32 = 4_096;

/// Bytes of the salts that are made here.
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a salt in a file.
const SALT_BYTES_MAX: usize = 128;
/// Random bytes of the server's part of the nonce.
const NONCE_BYTES: usize = 18;

/// What is kept instead of a password.
///
/// It is written as `SCRAM-SHA-256$ITERATIONS$SALT$STORED_KEY$SERVER_KEY`, with base64. `FromStr` also takes the form of
/// PostgreSQL, `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`.
#[derive(Clone, Eq, PartialEq)]
pub struct Verifier {
    /// From 1 to [`PBKDF2_ITERATIONS_MAX`].
    pub(crate) iterations: u32,
    /// From 1 to 128 bytes.
    pub(crate) salt: Box<[u8]>,
    pub(crate) stored_key: [u8; SHA256_BYTES],
    pub(crate) server_key: [u8; SHA256_BYTES],
}

/// Why a text is no verifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no SCRAM verifier: SCRAM-SHA-256$ITERATIONS$SALT$STORED_KEY$SERVER_KEY")]
pub struct InvalidVerifier;

/// Why there can be no verifier of a password.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoVerifier {
    /// There can be no hash of it either.
    #[error(transparent)]
    Password(#[from] CannotHash),
    /// SASLprep (RFC 4013) forbids one of its characters.
    #[error("the password holds a character that SCRAM does not allow (RFC 4013)")]
    Prohibited,
}

impl Verifier {
    /// The verifier of this password, with a salt of its own.
    ///
    /// # Errors
    ///
    /// [`NoVerifier`] when the password is empty, too long or not allowed, or there is no randomness.
    pub fn make(password: &str) -> Result<Self, NoVerifier> {
        if password.is_empty() {
            return Err(CannotHash::Empty.into());
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(CannotHash::TooLong.into());
        }
        let salt: [u8; SALT_BYTES] = random::bytes().map_err(|_| CannotHash::NoRandomness)?;
        Self::derive(password, &salt, ITERATIONS)
    }

    pub(crate) fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, NoVerifier> {
        let password = prepared(password).ok_or(NoVerifier::Prohibited)?;
        let mut salted = [0; SHA256_BYTES];
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password.as_bytes(), salt, iterations, &mut salted);
        let stored_key = sha256(&hmac(&salted, &[b"Client Key"]));
        let server_key = hmac(&salted, &[b"Server Key"]);
        Ok(Self { iterations, salt: salt.into(), stored_key, server_key })
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let rest = text.strip_prefix(METHOD).and_then(|rest| rest.strip_prefix('$'));
        let mut parts = rest.ok_or(InvalidVerifier)?.split(['$', ':']);
        let mut part = || parts.next().ok_or(InvalidVerifier);
        let (iterations, salt, stored_key, server_key) = (part()?, part()?, part()?, part()?);
        let iterations: u32 = iterations.parse().map_err(|_| InvalidVerifier)?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| InvalidVerifier);
        let key = |text: &str| bytes(text)?.try_into().map_err(|_| InvalidVerifier);
        let salt = bytes(salt)?;
        let is_bounded = (1..=PBKDF2_ITERATIONS_MAX).contains(&iterations)
            && (1..=SALT_BYTES_MAX).contains(&salt.len());
        if !is_bounded || parts.next().is_some() {
            return Err(InvalidVerifier);
        }
        let (stored_key, server_key) = (key(stored_key)?, key(server_key)?);
        Ok(Self { iterations, salt: salt.into(), stored_key, server_key })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, stored_key, server_key } = self;
        let (salt, stored) = (STANDARD.encode(salt), STANDARD.encode(stored_key));
        write!(f, "{METHOD}${iterations}${salt}${stored}${}", STANDARD.encode(server_key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The client does not keep to the protocol, or asks for what is not offered.
    Malformed,
    /// It does not know the password.
    WrongProof,
}

/// The part of the nonce that is the server's.
pub(crate) fn server_nonce() -> Result<String, random::NoRandomness> {
    Ok(STANDARD.encode(random::bytes::<NONCE_BYTES>()?))
}

/// An exchange of which the client's last message is still to come.
#[derive(Debug)]
pub(crate) struct Exchange {
    verifier: Verifier,
    /// The client's part and the server's.
    nonce: String,
    /// What the client said about channel binding, as it has to repeat it.
    header: String,
    /// The messages so far, as both sides sign them.
    signed: String,
}

/// What a client begins with.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ClientFirst<'a> {
    /// The user, prepared as RFC 4013 has it.
    pub(crate) user: String,
    header: &'a str,
    /// Without the header.
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads `n,,n=user,r=nonce`.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, Failure> {
        let message = text(message)?;
        // The header is the flag of channel binding and an identity to act as, each ended by a comma.
        let (flag, rest) = message.split_once(',').ok_or(Failure::Malformed)?;
        let (act_as, bare) = rest.split_once(',').ok_or(Failure::Malformed)?;
        let header_length = flag.len() + act_as.len() + 2;
        let header = message.get(..header_length).ok_or(Failure::Malformed)?;
        // `y`: it could, and thinks that the server cannot, which is right.
        if !matches!(flag, "n" | "y") {
            return Err(Failure::Malformed);
        }
        let (user, rest) = bare.split_once(',').ok_or(Failure::Malformed)?;
        let user = name(user.strip_prefix("n=").ok_or(Failure::Malformed)?)?;
        let nonce = rest.split(',').next().and_then(|nonce| nonce.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(Failure::Malformed)?;
        // Nobody acts as another here.
        let acts_as_itself = match act_as.strip_prefix("a=") {
            Some(other) => name(other)? == user,
            None => act_as.is_empty(),
        };
        if acts_as_itself {
            Ok(Self { user, header, bare, nonce })
        } else {
            Err(Failure::Malformed)
        }
    }
}

/// A message as text; neither too long nor anything but UTF-8.
fn text(message: &[u8]) -> Result<&str, Failure> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Failure::Malformed);
    }
    std::str::from_utf8(message).map_err(|_| Failure::Malformed)
}

/// `=2C` and `=3D` are what a comma and an equals sign are written as; no other `=` may be in a name.
fn name(text: &str) -> Result<String, Failure> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = part.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(Failure::Malformed);
        };
        name.push(letter);
        name.push_str(rest);
    }
    match prepared(&name) {
        Some(prepared) if !prepared.is_empty() => Ok(prepared.into_owned()),
        _ => Err(Failure::Malformed),
    }
}

/// Printable and without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// As RFC 4013 prepares names and passwords; none if it forbids one of the characters.
pub(crate) fn prepared(text: &str) -> Option<Cow<'_, str>> {
    stringprep::saslprep(text).ok()
}

impl Exchange {
    /// Goes on from the client's first message with the verifier of its user, or with one that no password fits; gives what
    /// the client is told.
    pub(crate) fn begin(first: &ClientFirst<'_>, verifier: Verifier, own: &str) -> (Self, String) {
        let nonce = format!("{}{own}", first.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let signed = format!("{},{answer}", first.bare);
        (Self { verifier, nonce, header: STANDARD.encode(first.header), signed }, answer)
    }

    /// Judges the client's last message, `c=header,r=nonce,p=proof`; gives the server's own proof.
    pub(crate) fn finish(self, message: &[u8]) -> Result<String, Failure> {
        let message = text(message)?;
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut parts = unproven.split(',');
        let header = parts.next().and_then(|part| part.strip_prefix("c="));
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let (Some(header), Some(nonce)) = (header, nonce) else { return Err(Failure::Malformed) };
        let proof = STANDARD.decode(proof).map_err(|_| Failure::Malformed)?;
        let proof: [u8; SHA256_BYTES] = proof.try_into().map_err(|_| Failure::Malformed)?;
        if header != self.header || nonce != self.nonce {
            return Err(Failure::Malformed);
        }
        let Verifier { stored_key, server_key, .. } = &self.verifier;
        let signed: [&[u8]; 3] = [self.signed.as_bytes(), b",", unproven.as_bytes()];
        let mut client_key = hmac(stored_key, &signed);
        for (byte, proof) in client_key.iter_mut().zip(proof) {
            *byte ^= proof;
        }
        if !bool::from(sha256(&client_key).ct_eq(stored_key)) {
            return Err(Failure::WrongProof);
        }
        Ok(format!("v={}", STANDARD.encode(hmac(server_key, &signed))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3: user `user`, password `pencil`.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn pencil() -> Verifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        Verifier::derive("pencil", &salt, 4096).expect("allowed")
    }

    fn begin(message: &str) -> Exchange {
        let first = ClientFirst::parse(message.as_bytes()).expect(message);
        Exchange::begin(&first, pencil(), SERVER_NONCE).0
    }

    #[test]
    fn the_example_of_the_standard() {
        let first = ClientFirst::parse(CLIENT_FIRST.as_bytes()).expect("legal");
        assert_eq!(first.user, "user");
        let (exchange, server_first) = Exchange::begin(&first, pencil(), SERVER_NONCE);
        assert_eq!(server_first, SERVER_FIRST);
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()), Ok(SERVER_FINAL.to_owned()));
    }

    #[test]
    fn a_verifier_is_read_as_it_is_written_and_as_postgresql_writes_it() {
        let verifier = pencil();
        let text = verifier.to_string();
        assert_eq!(text.parse(), Ok(verifier.clone()));
        // RFC 5803 has the same keys of `pencil` under SHA-1 only; these are PostgreSQL's of this salt.
        let parts: Vec<&str> = text.split('$').collect();
        let postgresql =
            format!("{}${}:{}${}:{}", parts[0], parts[1], parts[2], parts[3], parts[4]);
        assert_eq!(postgresql.parse(), Ok(verifier));
        for wrong in [
            "",
            "SCRAM-SHA-1$4096$c2FsdA==$AA==$AA==",
            "SCRAM-SHA-256$4096$c2FsdA==$AA==$AA==",
            &text.replace("4096", "0"),
            &text.replace("4096", "10000001"),
            &text.replace("4096", ""),
            &format!("{text}$"),
            &text.replacen("W22", "W!2", 1),
        ] {
            assert_eq!(wrong.parse::<Verifier>(), Err(InvalidVerifier), "{wrong}");
        }
        assert_eq!(format!("{:?}", pencil()), "Verifier { iterations: 4096, .. }");
    }

    #[test]
    fn first_messages() {
        let user = |message: &str| ClientFirst::parse(message.as_bytes()).map(|first| first.user);
        for (message, expected) in [
            ("n,,n=a,r=x", "a"),
            ("y,,n=a,r=x", "a"),
            ("n,a=a,n=a,r=x", "a"),
            ("n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
            ("n,,n=a,r=x,ext=1", "a"),
            ("n,,n=\u{2168},r=x", "IX"),
        ] {
            assert_eq!(user(message), Ok(expected.to_owned()), "{message}");
        }
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=a",
            "n,,r=x,n=a",
            "n,,n=,r=x",
            "n,,n=a,r=",
            "n,,n=a,r=\u{e9}",
            "n,,n=a=2,r=x",
            "n,,n=a=41,r=x",
            "n,,n=\u{7},r=x",
            "n,,m=1,n=a,r=x",
            "p=tls-exporter,,n=a,r=x",
            "q,,n=a,r=x",
            "n,a=b,n=a,r=x",
            "n,b,n=a,r=x",
            &format!("n,,n={},r=x", "a".repeat(5_000)),
        ] {
            assert_eq!(user(message), Err(Failure::Malformed), "{message}");
        }
        assert_eq!(
            ClientFirst::parse(b"n,,n=\xff,r=x").map(|first| first.user),
            Err(Failure::Malformed)
        );
    }

    #[test]
    fn last_messages_that_prove_nothing() {
        let finish = |message: &str| begin(CLIENT_FIRST).finish(message.as_bytes());
        let zeros = format!("p={}", STANDARD.encode([0; 32]));
        let wrong = CLIENT_FINAL.rsplit_once("p=").map(|(head, _)| format!("{head}{zeros}"));
        assert_eq!(finish(&wrong.expect("a proof")), Err(Failure::WrongProof));
        for message in [
            "",
            "c=biws",
            "c=biws,r=x,p=",
            &CLIENT_FINAL.replace("c=biws", "c=eSws"),
            &CLIENT_FINAL.replace("k0,p", "k1,p"),
            &CLIENT_FINAL.replace("p=dHzb", "p=!Hzb"),
            &CLIENT_FINAL.replace("p=dHzb", "p="),
        ] {
            assert_eq!(finish(message), Err(Failure::Malformed), "{message}");
        }
        // An extension is signed too: it cannot be added by another.
        let extended = CLIENT_FINAL.replace(",p=", ",x=1,p=");
        assert_eq!(finish(&extended), Err(Failure::WrongProof));
        // What was said about channel binding at first is what has to be said at last.
        assert_eq!(
            begin("y,,n=user,r=rOprNGfwEbeRWgbNEkqO").finish(CLIENT_FINAL.as_bytes()),
            Err(Failure::Malformed)
        );
    }
}
