//! The log of security events: who came in, who did not, and why.
//!
//! Events go to `tracing` with the target [`TARGET`] and a field `event` from the list below, so that an installation can keep
//! them apart from its other logs. None holds a password or Authentication Data. A client that is refused without having been
//! judged, since it has failed too often, makes one event when that begins and none for each attempt.

pub use dunlin_broker::audit::TARGET;
use dunlin_broker::{AuthRequest, Login, LoginGuard, ReasonCode};

/// Every event of this crate, with what it means. The last two are administrative and have the target
/// [`ADMIN_TARGET`](dunlin_broker::audit::ADMIN_TARGET).
pub const EVENTS: [(&str, &str); 6] = [
    ("login", "a client came in"),
    ("login_refused", "a client was judged and refused"),
    ("login_failed", "a client could not be judged: no time, no room, no answer from outside"),
    (
        "login_throttled",
        "an address, or a user at an address, has failed too often: its next attempts are refused unseen",
    ),
    ("users_reloaded", "a file of users has changed and was taken"),
    (
        "users_not_reloaded",
        "a file of users has changed and is not understood: the users stay as they were",
    ),
];

/// Writes an event for each login that was judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit;

impl LoginGuard for Audit {
    fn judged(&self, login: &Login<'_>) {
        let Login { request, by, .. } = login;
        let address = Shown(request.address);
        let user_name = request.user_name.as_deref().unwrap_or_default();
        let (listener, client_id) = (request.listener.as_str(), request.client_id.as_str());
        let again = request.reauthentication;
        match login.outcome {
            Ok(identity) => {
                let user = identity.user.as_str();
                tracing::info!(
                    target: TARGET, event = "login", listener, %address, client_id, user, by, again,
                    "a client came in"
                );
            }
            Err(reason) if is_answer(reason) => {
                tracing::warn!(
                    target: TARGET, event = "login_refused", listener, %address, client_id, user_name, by, again, %reason,
                    "a client was refused"
                );
            }
            Err(reason) => {
                tracing::warn!(
                    target: TARGET, event = "login_failed", listener, %address, client_id, user_name, by, again, %reason,
                    "a client could not be judged"
                );
            }
        }
    }
}

/// An address, or this user there, has failed too often.
pub(crate) fn throttled(request: &AuthRequest) {
    let address = Shown(request.address);
    let user_name = request.user_name.as_deref().unwrap_or_default();
    let listener = request.listener.as_str();
    tracing::warn!(
        target: TARGET, event = "login_throttled", listener, %address, user_name,
        "too many failed logins: the next ones are refused unseen"
    );
}

/// Whether somebody said no, rather than nothing.
const fn is_answer(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::Banned
    )
}

/// An address, or nothing.
struct Shown(Option<std::net::SocketAddr>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}
