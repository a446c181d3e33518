//! The log of security and administrative events: who did what to the broker, and what was refused.
//!
//! Events go to `tracing`, each with a field `event` from the lists here and in `dunlin-auth`. Security events have the target
//! [`TARGET`] and are many: a program may keep them apart from its log. Administrative ones have the target [`ADMIN_TARGET`],
//! which begins with the other, and are few: a program shows them in both places. None holds a password or Authentication
//! Data.

/// The target of security events.
pub const TARGET: &str = "dunlin_audit";
/// The target of administrative events.
pub const ADMIN_TARGET: &str = "dunlin_audit::admin";

/// Every event of this crate, with what it means.
pub const EVENTS: [(&str, &str); 9] = [
    ("access_refused", "a client may not do what it wanted to, by a rule"),
    ("client_without_rights", "the rules have no answer for a client, which may do nothing"),
    ("session_refused", "a client came with the Client Identifier of another identity's session"),
    ("banned", "somebody may not connect for a while, or for good"),
    ("ban_taken_back", "somebody may connect again"),
    ("listener_added", "a listener was opened by a reload"),
    ("listener_removed", "a listener was closed by a reload"),
    ("certificates_taken", "a listener shows other certificates from now on"),
    ("certificates_kept", "a listener's changed certificates are not good and were not taken"),
];
