//! What the service manager is told, where there is one that wants to know: systemd's `Type=notify` and its watchdog.

use std::time::Duration;

use sd_notify::NotifyState;

/// The broker serves clients: what was stored is restored and all listeners are open.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins. It ends with [`ready`], whatever came of it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The broker takes leave.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The broker's runtime still turns.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be said: twice in the time after which the manager gives up. None: it does not watch.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a manager nothing is said; with one that does not listen there is nothing to do.
    let _ = sd_notify::notify(states);
}
