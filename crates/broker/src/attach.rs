//! From an accepted CONNECT to its session, and from the end of a connection to a parked or ended one.
//!
//! Any number of CONNECTs with one Client Identifier end with one owner, the last. The old connection is asked to let go
//! and does so without waiting for its socket.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use dunlin_access::{Refusal, Rights};
use dunlin_codec::ReasonCode;
use dunlin_session::{Attach, Session};
use dunlin_store::{Change, SessionKey};

use crate::access::Vouched;
use crate::audit;
use crate::config::ForeignSessions;
use crate::core::Core;
use crate::end::EndReason;
use crate::mailbox::{Claimed, Mailbox};
use crate::metrics::{add, sub};
use crate::namespace::Namespace;
use crate::persist::{Entry, Write, record};
use crate::policy::Identity;
use crate::queue::Drops;
use crate::quotas::{Held, QuotaEvent};

/// A session and the right to use it. Dropped before it is taken out, it parks the session again.
#[derive(Debug)]
pub(crate) struct Owned {
    core: Arc<Core>,
    pub(crate) mailbox: Arc<Mailbox>,
    session: Option<Box<Session>>,
    pub(crate) session_present: bool,
    /// The client's places in the accounts that limit it.
    pub(crate) quota: Option<Box<Held>>,
}

/// Begins the name of a listener's anonymous user as the owner of sessions. No name of a user holds it.
const ANONYMOUS: char = '\0';

/// Who owns the sessions of a client with this identity: its user, or the anonymous user of its listener. That has no name
/// where the listener gives it none.
pub(crate) fn owner_of(identity: &Identity, anonymous_user: Option<&str>) -> String {
    match anonymous_user.filter(|_| identity.user.is_empty()) {
        Some(name) => format!("{ANONYMOUS}{name}"),
        None => identity.user.clone(),
    }
}

/// The user that an owner of sessions is; empty for an anonymous one.
pub(crate) fn user_of(owner: &str) -> &str {
    if owner.starts_with(ANONYMOUS) { "" } else { owner }
}

/// Whether a user may be called so.
pub(crate) fn is_name(user: &str) -> bool {
    !user.contains(ANONYMOUS)
}

/// Who asks for a session.
#[derive(Debug)]
pub(crate) struct Comer {
    pub(crate) namespace: Arc<Namespace>,
    /// Whose the session is, as [`owner_of`] has it.
    pub(crate) owner: String,
    pub(crate) vouched: Option<Arc<Vouched>>,
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) quota: Option<Box<Held>>,
}

/// Why a connection gets no session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotAttached {
    /// A later connection of the same client goes before this one.
    Superseded,
    /// CONNACK says why.
    Refused(ReasonCode),
    /// There is no room for it, or it comes too fast: 0x97 or 0x9F.
    OverQuota(QuotaEvent),
    /// The rules forbid it: 0x87, and the record of the connection says why.
    Forbidden(Forbidden),
    /// The store failed.
    StoreFailed,
    /// A hook panicked.
    HookPanicked,
}

/// What the rules forbid a client that connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forbidden {
    /// Its name, or something vouched for, would change the meaning of a rule's filter.
    Subject,
    /// To leave this will.
    Will(Refusal),
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => {
                f.write_str("a value for a rule's placeholder must not stand in a filter")
            }
            Self::Will(refusal) => write!(f, "the will: {refusal}"),
        }
    }
}

impl NotAttached {
    pub(crate) const fn end_reason(self) -> EndReason {
        match self {
            Self::Superseded => EndReason::TakenOver,
            Self::Refused(_) | Self::OverQuota(_) | Self::Forbidden(_) => EndReason::Refused,
            Self::StoreFailed => EndReason::StoreFailed,
            Self::HookPanicked => EndReason::Panicked,
        }
    }
}

impl Owned {
    fn fresh(core: &Arc<Core>, mailbox: Arc<Mailbox>) -> Self {
        let session = Some(Box::new(Session::new(mailbox.client_id.clone())));
        Self { core: Arc::clone(core), mailbox, session, session_present: false, quota: None }
    }

    /// Takes the session out; from now on whoever has it parks it.
    pub(crate) fn take(&mut self) -> Option<Box<Session>> {
        self.session.take()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            park(&self.core, &self.mailbox, session, Instant::now());
        }
    }
}

/// Finds or makes the session that a client asks for, and lets the store know.
pub(crate) async fn attach(
    core: Arc<Core>,
    comer: Comer,
    request: Attach,
) -> Result<Owned, NotAttached> {
    let Comer { namespace, owner, vouched, rights, quota } = comer;
    let mut entries = Vec::new();
    let mut owned = obtain(&core, &namespace, &request, &owner, &mut entries).await?;
    owned.quota = quota;
    let mailbox = &owned.mailbox;
    mailbox.introduce(vouched, rights);
    if owned.session_present
        && let Some(session) = &mut owned.session
    {
        // What it was queued and what it subscribed to, under whatever rules, is held against its rights as they are.
        entries.extend(core.look_over(mailbox, session));
        if mailbox.rights().is_some() {
            mailbox.recheck_queue(false);
        }
    }
    // A session that outlives its connection is in the store; one that does not is there for the sake of its will only.
    if mailbox.is_stored() || !request.session_expiry.is_at_close() || request.will.is_some() {
        let record = record(request.session_expiry, &mailbox.owner(), request.will.as_ref(), None);
        let session = mailbox.session_no;
        entries.push(Entry::change(if mailbox.set_stored() {
            Change::SessionUpdated { session, record }
        } else {
            let key = SessionKey::Client(request.client_id.clone());
            let namespace = mailbox.namespace.number;
            Change::SessionOpened { session, namespace, key, record }
        }));
    }
    // The end of an old session, the new one and its will are durable before CONNACK.
    if !entries.is_empty() && core.write(entries).await.is_err() {
        return Err(if core.committer.has_failed() {
            NotAttached::StoreFailed
        } else {
            NotAttached::Refused(ReasonCode::QuotaExceeded)
        });
    }
    Ok(owned)
}

/// Claims the session of this client, ends it if it is not to be resumed, makes one where there is none.
async fn obtain(
    core: &Arc<Core>,
    namespace: &Arc<Namespace>,
    request: &Attach,
    owner: &str,
    entries: &mut Vec<Entry>,
) -> Result<Owned, NotAttached> {
    loop {
        let (mailbox, new) = namespace.find_or_make(&request.client_id, owner);
        if new {
            let owned = Owned::fresh(core, mailbox);
            // [MQTT-3.1.4-2]
            let sessions = core.namespaces.common().numbers.sessions();
            if sessions > u64::from(core.config().limits.sessions_max) {
                return Err(NotAttached::Refused(ReasonCode::QuotaExceeded));
            }
            return Ok(owned);
        }
        // A session belongs to the identity that made it.
        if *mailbox.owner() != *owner {
            if core.config().access.foreign_sessions == ForeignSessions::Refuse {
                add(&namespace.counters.sessions_of_others_refused, 1);
                tracing::warn!(
                    target: audit::TARGET, event = "session_refused", tenant = %namespace.name,
                    user = user_of(owner), client_id = request.client_id.as_str(),
                    "the session of this client id is another identity's"
                );
                return Err(NotAttached::Refused(ReasonCode::ClientIdentifierNotValid));
            }
            mailbox.set_owner(owner);
        }
        let claim = mailbox.claim();
        let claimed = poll_fn(|cx| match mailbox.poll_claim(claim, cx) {
            Claimed::Wait => Poll::Pending,
            claimed @ (Claimed::Session(_) | Claimed::Superseded | Claimed::Ended) => {
                Poll::Ready(claimed)
            }
        })
        .await;
        match claimed {
            Claimed::Session(session) => {
                sub(&namespace.counters.sessions_parked, 1);
                core.timers.cancel(&mailbox);
                let mut owned = Owned {
                    core: Arc::clone(core),
                    mailbox,
                    session: Some(session),
                    session_present: true,
                    quota: None,
                };
                let now = Instant::now();
                let resumable =
                    owned.session.as_ref().is_some_and(|session| session.is_resumable(now));
                // [MQTT-3.1.2-5] Clean Start 0 resumes what is there to be resumed.
                if resumable && !request.clean_start {
                    return Ok(owned);
                }
                // [MQTT-3.1.2-4] The old session goes; its place is ours before anybody else can find it empty.
                let replacement = namespace.replace(&owned.mailbox, owner);
                if let Some(session) = owned.take() {
                    entries.extend(core.end_session(&owned.mailbox, session));
                }
                if let Some(mailbox) = replacement {
                    return Ok(Owned::fresh(core, mailbox));
                }
            }
            Claimed::Ended => {
                if let Some(mailbox) = namespace.replace(&mailbox, owner) {
                    return Ok(Owned::fresh(core, mailbox));
                }
            }
            Claimed::Superseded | Claimed::Wait => return Err(NotAttached::Superseded),
        }
    }
}

/// The Network Connection of a session is gone: the session is parked, or ends if it does not outlive it.
pub(crate) fn park(
    core: &Arc<Core>,
    mailbox: &Arc<Mailbox>,
    mut session: Box<Session>,
    now: Instant,
) {
    if session.has_ended(now) || !session.is_durable() {
        if let Some(entry) = core.end_session(mailbox, session) {
            core.submit_later(Write::new(core, None, vec![entry]));
        }
        return;
    }
    mailbox.set_offline();
    // Other rules may have come into force, and nobody else can look at the session before it is parked.
    if let Some(_due) = mailbox.take_due() {
        core.renew_rights(mailbox);
        let entries = core.look_over(mailbox, &mut session);
        if !entries.is_empty() {
            core.submit_later(Write::new(core, None, entries));
        }
    }
    core.leave_groups(mailbox, &mut session);
    let record = Core::parked_record(&session, &mailbox.owner());
    core.note(Change::SessionUpdated { session: mailbox.session_no, record });
    let due = session.next_deadline();
    add(&mailbox.namespace.counters.sessions_parked, 1);
    let mut drops = Drops::default();
    mailbox.namespace.charge(mailbox.park(session, &mut drops));
    core.report(mailbox, drops);
    if let Some(at) = due {
        core.timers.schedule(at, mailbox);
    }
}
