//! Noticing that a listener's files have changed.

use std::sync::Arc;
use std::time::Duration;

use super::Tls;
use super::files::{self, TlsError};

/// What became of changed files.
#[derive(Debug)]
pub enum Reload {
    /// They are used for whoever comes from now on.
    Done,
    /// They are not good; what was read before is used on.
    Kept(TlsError),
}

impl Tls {
    /// Looks at the files every so often and reloads them when they have changed and then stood still for as long, so that a
    /// certificate and its key are taken together. What became of each change is told once. Runs until it is dropped.
    ///
    /// The files are looked at by asking for their times, sizes and inodes: that works on every file system, and where a
    /// directory is swapped by one link.
    pub async fn watch(self: Arc<Self>, every: Duration, mut tell: impl FnMut(Reload)) {
        let mut seen = self.current().stamps.clone();
        let mut tried = seen.clone();
        loop {
            tokio::time::sleep(every).await;
            let tls = Arc::clone(&self);
            // A file system may take its time.
            let Ok(found) = tokio::task::spawn_blocking(move || files::stamps(tls.options())).await
            else {
                return;
            };
            let still = found == seen;
            seen = found;
            if still && seen != tried {
                tried = seen.clone();
                // Somebody else may have taken them over.
                if self.current().stamps == seen {
                    continue;
                }
                let tls = Arc::clone(&self);
                match tokio::task::spawn_blocking(move || tls.reload()).await {
                    Ok(Ok(())) => tell(Reload::Done),
                    Ok(Err(error)) => tell(Reload::Kept(error)),
                    Err(_) => return,
                }
            }
        }
    }
}
