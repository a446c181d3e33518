//! The start: sessions, queues, routes and retained messages as the store has them, before any listener opens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_codec::{Text, TextRules};
use dunlin_session::{
    Delivery, Origin, Restored, Session, SessionExpiry, Subscription, SubscriptionIds, Will,
};
use dunlin_store::{
    Change, MessageHeader, MessageId, Meta, NamespaceNo, Publication, Reader, Report,
    RetainedRecord, SessionKey, SessionNo, Store, StoreError, StoredSession, Target, Visitor,
};
use dunlin_topics::{SharedFilter, SubscriptionFilter};
use hashbrown::HashMap;

use crate::clock::Clock;
use crate::core::Core;
use crate::mailbox::{Counted, Mailbox};
use crate::metrics::add;
use crate::namespace::Namespace;
use crate::pager::READ_STEP;
use crate::pages::{Entry as Place, Expiry, Item, Pages};
use crate::persist::{Entry, Write};
use crate::queue::Queue;
use crate::retained::Retained;
use crate::router::SubscriptionEntry;
use crate::share::Group;

/// How often a long start says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Changes of one write: of many sessions there may be many.
const ENTRIES_MAX: usize = 1_024;
/// Things seen between two looks at the clock.
const PROGRESS_STEP: u64 = 4_096;

/// What the store showed: everything but the messages' contents, of which only their places in the queues are kept.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) meta: Option<Meta>,
    report: Report,
    namespaces: Vec<(NamespaceNo, Text)>,
    sessions: Vec<Found>,
    by_number: HashMap<SessionNo, usize>,
    retained: Vec<RetainedRecord>,
    /// When it began: expiries are counted from here.
    clock: Clock,
    /// Messages that may be on their way to one client at a time.
    inflight_max: u64,
    progress: Progress,
}

/// A session, and what waits for it.
#[derive(Debug)]
struct Found {
    stored: StoredSession,
    pages: Pages,
    last_seq: u64,
    /// Messages that it still has to be sent, those seen so far.
    here: u64,
    /// Places at which nothing stands though they are not done with, as first and last: messages that no level had to keep
    /// were lost from there.
    holes: Vec<(u64, u64)>,
    /// The place up to which holes were looked for.
    looked_through: u64,
}

impl Visitor for Recovered {
    fn meta(&mut self, meta: &Meta) {
        self.meta = Some(meta.clone());
    }

    fn namespace(&mut self, namespace: NamespaceNo, name: &Text) {
        self.namespaces.push((namespace, name.clone()));
    }

    fn session(&mut self, stored: StoredSession) {
        self.progress.saw(|seen| &mut seen.sessions);
        let last_seq = stored.cursor.next_seq().saturating_sub(1);
        self.by_number.insert(stored.session, self.sessions.len());
        let pages = Pages::new(self.clock.monotonic);
        let looked_through = stored.cursor.acknowledged_through();
        let holes = Vec::new();
        self.sessions.push(Found { stored, pages, last_seq, here: 0, holes, looked_through });
    }

    fn message(&mut self, message: &MessageHeader<'_>) {
        self.progress.saw(|seen| &mut seen.messages);
        let left = message.expires_at.map(|at| at.since(self.clock.wall));
        let past = Past {
            inflight_max: self.inflight_max,
            complete: self.meta.as_ref().is_some_and(|meta| meta.clean),
        };
        for target in message.targets {
            let found = self.by_number.get(&target.session);
            if let Some(found) = found.and_then(|index| self.sessions.get_mut(*index)) {
                found.last_seq = found.last_seq.max(target.seq);
                found.look_for_holes(target.seq);
                if found.awaits(target) {
                    found.queue(message, target, left, past);
                }
            }
        }
    }

    fn retained(&mut self, retained: RetainedRecord) {
        self.progress.saw(|seen| &mut seen.retained);
        self.retained.push(retained);
    }
}

impl Found {
    /// Whether the client still has to be sent this message: not acknowledged, and not at the point where only PUBREL is.
    fn awaits(&self, target: &Target) -> bool {
        let cursor = &self.stored.cursor;
        !cursor.is_acknowledged(target.seq) && !cursor.is_released(target.seq)
    }

    /// Notes what is empty between the last place seen and this one. Places rise with messages.
    fn look_for_holes(&mut self, place: u64) {
        let (first, last) = (self.looked_through + 1, place.saturating_sub(1));
        self.looked_through = self.looked_through.max(place);
        if first <= last && !self.stored.cursor.covers(first, last) {
            self.holes.push((first, last));
        }
    }

    /// Nothing can come to a hole any more. Left open, it would stay in the session's cursor for good.
    fn close_holes(&mut self, entries: &mut Vec<Entry>) {
        self.look_for_holes(self.stored.cursor.next_seq());
        let session = self.stored.session;
        let closed = std::mem::take(&mut self.holes)
            .into_iter()
            .map(|(first, last)| Entry::change(Change::Acknowledged { session, first, last }));
        entries.extend(closed);
    }

    fn queue(
        &mut self,
        message: &MessageHeader<'_>,
        target: &Target,
        left: Option<Duration>,
        past: Past,
    ) {
        // Nothing was sent that came when the client was away. Of the rest only so many were on their way, from the first one
        // on. But what was acknowledged last may be here again, unless the store was closed in order.
        let away_since = self.stored.record.disconnected_at;
        let offered = away_since.is_none_or(|since| message.published_at <= since);
        let entry = Place {
            id: message.id,
            seq: target.seq,
            size: message.size,
            expiry: Expiry::Never,
            sent_before: offered && self.here < past.inflight_max,
            may_repeat: offered && !past.complete,
        };
        self.here += 1;
        match left {
            Some(left) => self.pages.push_expiring(entry, left),
            None => self.pages.push(entry),
        }
    }
}

/// What is known of the time before.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Messages that may have been on their way to one client.
    inflight_max: u64,
    /// Whether every acknowledgement is in the store.
    complete: bool,
}

/// Says how far a long start is.
#[derive(Debug)]
struct Progress {
    doing: &'static str,
    seen: Seen,
    until_look: u64,
    said: Instant,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    sessions: u64,
    messages: u64,
    retained: u64,
}

impl Progress {
    fn new() -> Self {
        Self {
            doing: "reading the store",
            seen: Seen::default(),
            until_look: PROGRESS_STEP,
            said: Instant::now(),
        }
    }

    /// Something else begins, and is counted anew.
    fn goes_on(&mut self, doing: &'static str) {
        self.doing = doing;
        self.seen = Seen::default();
    }

    fn saw(&mut self, count: impl FnOnce(&mut Seen) -> &mut u64) {
        *count(&mut self.seen) += 1;
        self.until_look -= 1;
        if self.until_look > 0 {
            return;
        }
        self.until_look = PROGRESS_STEP;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            let Seen { sessions, messages, retained } = self.seen;
            let doing = self.doing;
            tracing::info!(event = "restoring", sessions, messages, retained, "{doing}");
        }
    }
}

/// Reads everything that the store holds, but no message's content.
pub(crate) fn read(store: &mut dyn Store, inflight_max: u16) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered {
        meta: None,
        report: Report::default(),
        namespaces: Vec::new(),
        sessions: Vec::new(),
        by_number: HashMap::new(),
        retained: Vec::new(),
        clock: Clock::now(None),
        inflight_max: inflight_max.into(),
        progress: Progress::new(),
    };
    recovered.report = store.recover(&mut recovered)?;
    Ok(recovered)
}

/// Puts it back in its places.
pub(crate) fn restore(
    core: &Arc<Core>,
    recovered: Recovered,
    reader: &mut dyn Reader,
) -> Result<(), StoreError> {
    let Recovered {
        meta,
        report,
        namespaces,
        mut sessions,
        by_number,
        retained,
        clock: begun,
        mut progress,
        ..
    } = recovered;
    drop(by_number);
    progress.goes_on("putting back what was read");
    // A clock that stands before the newest time in the store counts the time down as zero.
    let clock = Clock::now(report.newest);
    let ahead = report.newest.map_or(Duration::ZERO, |newest| newest.since(begun.wall));
    let base = begun.monotonic.checked_sub(ahead).unwrap_or(begun.monotonic);
    for (number, name) in &namespaces {
        core.namespaces.restore(*number, name.as_str());
    }
    if let Some(meta) = &meta {
        core.namespaces.common().numbers.set_next_session_no(meta.next_session);
        for namespace in core.namespaces.all() {
            namespace.retained.set_last_number(meta.next_retained.saturating_sub(1));
        }
    }
    for record in retained {
        progress.saw(|seen| &mut seen.retained);
        let expires_at = record.expires_at.and_then(|at| clock.at(at));
        let namespace = namespace_of(core, record.namespace);
        namespace.retained.restore(Retained {
            message: core.own_message(record.message),
            number: record.number,
            expires_at,
        });
    }
    let mut closed = Vec::new();
    sessions.iter_mut().for_each(|found| found.close_holes(&mut closed));
    let (groups, clients): (Vec<Found>, Vec<Found>) =
        sessions.into_iter().partition(|found| matches!(found.stored.key, SessionKey::Group(_)));
    let mut queued = Vec::new();
    for found in groups {
        queued.extend(group(core, found));
    }
    for found in clients {
        progress.saw(|seen| &mut seen.sessions);
        client(core, found, clock, base);
    }
    for (group, pages) in queued.iter().filter(|(group, _)| !group.is_empty()) {
        fill(core, group, pages, reader, clock)?;
    }
    forget_groups_without_members(core, queued.iter().map(|(group, _)| group));
    submit(core, closed);
    Ok(())
}

fn group(core: &Arc<Core>, found: Found) -> Option<(Arc<Group>, Pages)> {
    let SessionKey::Group(text) = &found.stored.key else { return None };
    let filter = SharedFilter::parse(text.as_bytes(), TextRules::PERMISSIVE).ok()?;
    let namespace = namespace_of(core, found.stored.namespace);
    let group = Arc::new(Group::restored(
        Arc::clone(&namespace),
        filter.clone(),
        found.stored.session,
        found.last_seq,
    ));
    namespace.router.restore_group(&filter, Arc::clone(&group));
    Some((group, found.pages))
}

/// Reads the messages of a group, which waits in memory, bounded by its own limits.
fn fill(
    core: &Arc<Core>,
    group: &Group,
    pages: &Pages,
    reader: &mut dyn Reader,
    clock: Clock,
) -> Result<(), StoreError> {
    let places: Vec<(MessageId, u64)> = pages
        .iter()
        .filter_map(|item| match item {
            Item::Stored(place) => Some((place.id, place.seq)),
            Item::Held(_) => None,
        })
        .collect();
    for places in places.chunks(READ_STEP) {
        let ids: Vec<MessageId> = places.iter().map(|(id, _)| *id).collect();
        let mut places = places.iter();
        reader.read(&ids, &mut |_, publication| {
            let place = places.next();
            if let (Some((_, seq)), Some(publication)) = (place, publication) {
                let Publication { message, expires_at, .. } = Arc::unwrap_or_clone(publication);
                let message = core.own_message(message);
                group.restore(Delivery {
                    qos: message.qos,
                    message,
                    retain: false,
                    subscription_ids: SubscriptionIds::new(),
                    seq: 0,
                    expires_at: expires_at.and_then(|at| clock.at(at)),
                    sent_before: false,
                    origin: Origin::Shared { group: group.session_no.0, seq: *seq },
                });
            }
        })?;
    }
    Ok(())
}

fn client(core: &Arc<Core>, found: Found, clock: Clock, base: Instant) {
    let Found { stored, mut pages, last_seq, .. } = found;
    let SessionKey::Client(client_id) = stored.key else { return };
    // Connected when the broker stopped: its connection ends now.
    let since = stored.record.disconnected_at.unwrap_or(clock.wall);
    let expiry = SessionExpiry::from_secs(stored.record.expiry_secs);
    let expires_at = (!expiry.is_never())
        .then(|| clock.monotonic + clock.left(since, Duration::from_secs(expiry.as_secs().into())));
    let will =
        stored.record.will.map(|will| Will { message: will.message, delay_secs: will.delay_secs });
    let will_at = will.as_ref().map(|will| {
        let at = clock.monotonic + clock.left(since, Duration::from_secs(will.delay_secs.into()));
        expires_at.map_or(at, |end| at.min(end))
    });
    let subscriptions: Vec<(SubscriptionFilter, Subscription)> = stored
        .subscriptions
        .into_iter()
        .filter_map(|(text, record)| {
            let filter = SubscriptionFilter::parse(text.as_bytes(), TextRules::PERMISSIVE).ok()?;
            let (options, subscription_id) = (record.options, record.subscription_id);
            Some((filter, Subscription { options, subscription_id }))
        })
        .collect();
    let session = Box::new(Session::restore(Restored {
        client_id,
        expiry,
        will,
        will_at,
        expires_at,
        subscriptions: subscriptions.clone(),
        inbound: stored.inbound,
        released: stored.cursor.released().collect(),
    }));
    let due = session.next_deadline().or(expires_at);
    pages.set_base(base);
    let queue = Queue::restored(pages, core.window().store_in_memory);
    let owner = &stored.record.owner;
    let namespace = namespace_of(core, stored.namespace);
    let (mailbox, charge) =
        Mailbox::restored(Arc::clone(&namespace), session, stored.session, owner, queue, last_seq);
    let mailbox = Arc::new(mailbox);
    namespace.charge(charge);
    namespace.registry.restore(Arc::clone(&mailbox));
    for (filter, subscription) in &subscriptions {
        subscribe(&mailbox, filter, *subscription);
    }
    add(&namespace.counters.sessions_parked, 1);
    if let Some(at) = due {
        core.timers.schedule(at, &mailbox);
    }
}

/// The namespace with this number. The store names each of those that it has something in, unless a part of it was lost
/// and put aside: then what is in it is kept, under a name that leads to no other tenant's.
fn namespace_of(core: &Core, number: NamespaceNo) -> Arc<Namespace> {
    if let Some(namespace) = core.namespaces.by_number(number) {
        return namespace;
    }
    let name = format!("lost-name-{number}");
    tracing::error!(event = "tenant_without_name", number = number.0, name);
    core.namespaces.restore(number, &name);
    core.namespaces.by_number(number).unwrap_or_else(|| Arc::clone(core.namespaces.default()))
}

fn subscribe(mailbox: &Arc<Mailbox>, filter: &SubscriptionFilter, subscription: Subscription) {
    let entry = SubscriptionEntry::of(&subscription);
    let namespace = &mailbox.namespace;
    namespace.router.subscribe(
        filter,
        mailbox,
        entry,
        |shared| Core::make_group(namespace, shared),
        || (),
    );
    mailbox.count_subscription(Counted::New);
    add(&namespace.counters.subscriptions, 1);
    if matches!(filter, SubscriptionFilter::Shared(_)) {
        add(&namespace.counters.subscriptions_shared, 1);
    }
}

/// A group whose last member is gone ended with it; its record outlived the broker.
fn forget_groups_without_members<'a>(
    core: &Arc<Core>,
    groups: impl Iterator<Item = &'a Arc<Group>>,
) {
    let ended = groups.filter(|group| group.is_empty());
    let entries: Vec<Entry> = ended
        .map(|group| Entry::change(Change::SessionEnded { session: group.session_no }))
        .collect();
    submit(core, entries);
}

/// Writes what nobody waits for, some at a time.
fn submit(core: &Arc<Core>, entries: Vec<Entry>) {
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let some = entries.by_ref().take(ENTRIES_MAX).collect();
        core.submit_later(Write::new(core, None, some));
    }
}
