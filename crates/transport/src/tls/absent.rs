//! TLS in a build that has none: there is no way to get one, and all else follows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::options::{Expiry, TlsOptions};

/// Why nothing can be loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this build speaks no TLS: it was made without the feature `tls`")]
pub struct TlsError;

/// The TLS of one listener, of which there is none in this build.
#[derive(Debug)]
pub struct Tls(Infallible);

/// What became of changed files.
#[derive(Debug)]
pub enum Reload {
    /// They are used for whoever comes from now on.
    Done,
    /// They are not good; what was read before is used on.
    Kept(TlsError),
}

impl Tls {
    /// Nothing is read.
    ///
    /// # Errors
    ///
    /// [`TlsError`], always.
    pub fn load(_: TlsOptions) -> Result<Self, TlsError> {
        Err(TlsError)
    }

    /// As there is no `Tls`, this is never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn reload(&self) -> Result<(), TlsError> {
        match self.0 {}
    }

    /// As there is no `Tls`, this is never called.
    #[must_use]
    pub const fn options(&self) -> &TlsOptions {
        match self.0 {}
    }

    /// As there is no `Tls`, this is never called.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        match self.0 {}
    }

    /// As there is no `Tls`, this is never called.
    pub async fn watch(self: Arc<Self>, _: Duration, _: impl FnMut(Reload)) {
        match self.0 {}
    }
}
