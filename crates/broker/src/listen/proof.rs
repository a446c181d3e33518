//! What TLS listeners prove themselves with: read before anything changes, watched as long as the listener is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dunlin_transport::tls::{Reload, Tls};
use tokio_util::task::AbortOnDropHandle;

use crate::audit::ADMIN_TARGET;
use crate::config::ListenerConfig;
use crate::server::ServerError;

/// From this many days before a certificate ends, that is a warning.
const WARN_DAYS: i64 = 30;
/// How often.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The TLS of each listener that has it, by the listener's name.
pub(crate) type Proofs = BTreeMap<String, Arc<Tls>>;

/// Reads the files of all listeners. Of one whose settings are the same as in `present` the files are read again, and the keys
/// of its tickets stay.
///
/// # Errors
///
/// [`ServerError::Tls`] for the first listener whose files are not good. Files that were good before and are not any more are
/// no error: the listener goes on with what was read.
pub(crate) async fn load(
    listeners: &[ListenerConfig],
    present: Proofs,
) -> Result<Proofs, ServerError> {
    let wanted: Vec<_> =
        listeners.iter().filter_map(|each| Some((each.name.clone(), each.tls()?))).collect();
    if wanted.is_empty() {
        return Ok(Proofs::new());
    }
    let loading = tokio::task::spawn_blocking(move || {
        let mut proofs = Proofs::new();
        for (name, options) in wanted {
            let same = present.get(&name).filter(|tls| *tls.options() == options);
            let tls = if let Some(tls) = same {
                told(&name, &tls.reload().map_or_else(Reload::Kept, |()| Reload::Done));
                Arc::clone(tls)
            } else {
                let loaded = Tls::load(options);
                Arc::new(loaded.map_err(|source| ServerError::Tls { name: name.clone(), source })?)
            };
            proofs.insert(name, tls);
        }
        Ok(proofs)
    });
    loading.await.unwrap_or(Err(ServerError::Closing))
}

/// Takes changed files over, and says when a certificate is about to end.
pub(crate) fn watch(listener: &ListenerConfig, tls: &Arc<Tls>) -> AbortOnDropHandle<()> {
    let (name, every) = (listener.name.clone(), listener.tls_watch_interval);
    let tls = Arc::clone(tls);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let warning = async {
            loop {
                warn(&name, &tls, SystemTime::now());
                tokio::time::sleep(WARN_EVERY).await;
            }
        };
        tokio::select! {
            () = Arc::clone(&tls).watch(every, |reload| told(&name, &reload)) => {}
            () = warning => {}
        }
    }))
}

fn told(listener: &str, reload: &Reload) {
    match reload {
        Reload::Done => {
            tracing::info!(
                target: ADMIN_TARGET,
                event = "certificates_taken",
                listener,
                "new connections see these certificates"
            );
        }
        Reload::Kept(error) => tracing::error!(
            target: ADMIN_TARGET,
            event = "certificates_kept", listener, %error,
            "the changed files are not good: what was read before is used"
        ),
    }
}

fn warn(listener: &str, tls: &Tls, now: SystemTime) {
    for expiry in tls.expiries() {
        let days = expiry.days_left(now);
        if days < WARN_DAYS {
            tracing::warn!(
                event = "certificate_ends", listener, days, subject = %expiry.subject,
                file = %expiry.file.display(), "the certificate is about to end, or has ended"
            );
        }
    }
}

/// Whole days until the first certificate of each listener ends; negative if it has.
pub(crate) fn days_left(proofs: &Proofs, now: SystemTime) -> BTreeMap<String, i64> {
    let least = |tls: &Tls| tls.expiries().iter().map(|expiry| expiry.days_left(now)).min();
    proofs.iter().filter_map(|(name, tls)| Some((name.clone(), least(tls)?))).collect()
}
