//! Clients that bring a JSON Web Token (RFC 7519): who issued it says who they are.
//!
//! A token is worth what its key is worth. So a key knows the algorithms it is for ([`Key`]), and a token only chooses among
//! them: one that names `none`, or HS256 where the key is a public one, is refused before its signature is looked at. Keys
//! and addresses of keys in a token's header are never used.
//!
//! Signatures are verified by AWS-LC on the task of the connection: one costs no more than the handshake of TLS does there.

mod algorithm;
mod authenticator;
mod claims;
mod jwk;
mod key;
mod keys;
mod rejection;
mod remote;
mod token;

use std::time::SystemTime;

pub use algorithm::Algorithm;
pub use authenticator::{JwtAuthenticator, JwtConfig, TokenPlace};
pub use claims::{Bearer, CLAIM_BYTES_MAX, CLAIMS_MAX, ClaimNames, ClaimRules, ROLES_MAX};
pub use jwk::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, JwksError, Origin};
pub use key::{KEY_BYTES_MAX, Key, KeyError};
pub use keys::{KEYS_TRIED_MAX, KeySet};
pub use rejection::Rejection;
pub use remote::{JwksConfig, RemoteError, RemoteKeys};

/// What tokens are held against. It keeps nothing and knows no clock.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRules {
    /// What has to hold.
    pub claims: ClaimRules,
    /// What becomes of the claims.
    pub names: ClaimNames,
    /// Bytes of a token. A longer one is refused.
    pub token_bytes_max: usize,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            claims: ClaimRules::default(),
            names: ClaimNames::default(),
            token_bytes_max: 8 * 1024,
        }
    }
}

impl TokenRules {
    /// Who brings this token, which one of `keys` has to have signed.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] says what is wrong with it.
    pub fn judge(&self, token: &[u8], keys: &KeySet, now: SystemTime) -> Result<Bearer, Rejection> {
        let token = token::Token::parse(token, self.token_bytes_max)?;
        keys.verify(&token)?;
        claims::Claims::parse(&token.claims)?.judge(&self.claims, &self.names, now)
    }

    /// Whether this looks like a token of one of the issuers, going by what it says of itself. Another one is for another
    /// authenticator.
    fn is_meant(&self, token: &[u8]) -> bool {
        if self.claims.issuers.is_empty() || token.len() > self.token_bytes_max {
            return true;
        }
        let parsed = token::Token::parse(token, self.token_bytes_max);
        let claims = parsed.and_then(|token| claims::Claims::parse(&token.claims));
        claims.map_or(true, |claims| claims.is_from(&self.claims.issuers))
    }
}
