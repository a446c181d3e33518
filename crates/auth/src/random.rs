//! Randomness that nobody can guess.

/// The system gives no randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoRandomness;

/// Bytes for a salt, a nonce or a key.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
