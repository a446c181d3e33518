//! The start: sessions, queues, routes and retained messages as the store has them, before any listener opens.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dunlin_codec::{Text, TextRules};
use dunlin_session::{Delivery, Origin, Restored, Session, SessionExpiry, Subscription, Will};
use dunlin_store::{
    Change, Cursor, MessageHeader, MessageId, Meta, NamespaceNo, Publication, Report,
    RetainedRecord, SessionKey, SessionNo, Store, StoreError, StoredSession, Target, UnixMillis,
    Visitor,
};
use dunlin_topics::{SharedFilter, SubscriptionFilter};
use hashbrown::HashMap;

use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::metrics::add;
use crate::persist::{Entry, Write};
use crate::retained::Retained;
use crate::router::SubscriptionEntry;
use crate::share::Group;

/// Messages read from the store at a time.
const READ_STEP: usize = 100;

/// What the store showed.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) meta: Option<Meta>,
    pub(crate) report: Report,
    sessions: Vec<StoredSession>,
    /// Each with the targets that still wait for it.
    messages: Vec<(MessageId, Vec<Target>)>,
    retained: Vec<RetainedRecord>,
    read: HashMap<MessageId, Arc<Publication>>,
}

impl Visitor for Recovered {
    fn meta(&mut self, meta: &Meta) {
        self.meta = Some(meta.clone());
    }

    fn namespace(&mut self, _namespace: NamespaceNo, _name: &Text) {}

    fn session(&mut self, session: StoredSession) {
        self.sessions.push(session);
    }

    fn message(&mut self, message: &MessageHeader<'_>) {
        self.messages.push((message.id, message.targets.to_vec()));
    }

    fn retained(&mut self, retained: RetainedRecord) {
        self.retained.push(retained);
    }
}

/// Reads everything that the store holds.
pub(crate) fn read(store: &mut dyn Store) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let report = store.recover(&mut recovered)?;
    recovered.report = report;
    let mut reader = store.reader();
    let ids: Vec<MessageId> = recovered.messages.iter().map(|(id, _)| *id).collect();
    for ids in ids.chunks(READ_STEP) {
        reader.read(ids, &mut |id, publication| {
            recovered.read.extend(publication.map(|publication| (id, publication)));
        })?;
    }
    Ok(recovered)
}

/// Where the broker's clock stands against the store's.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: UnixMillis,
    monotonic: Instant,
}

impl Clock {
    /// What is left of `interval` that began at `since`.
    fn left(self, since: UnixMillis, interval: Duration) -> Duration {
        interval.saturating_sub(self.wall.since(since))
    }

    fn at(self, moment: UnixMillis) -> Instant {
        self.monotonic + moment.since(self.wall)
    }
}

/// Puts it back in its places.
pub(crate) fn restore(core: &Arc<Core>, recovered: Recovered) {
    let now = UnixMillis::from(SystemTime::now());
    // A clock that stands before the newest time in the store counts the time down as zero.
    let wall = recovered.report.newest.map_or(now, |newest| newest.max(now));
    let clock = Clock { wall, monotonic: Instant::now() };
    if let Some(meta) = &recovered.meta {
        core.namespace.registry.set_next_session_no(meta.next_session);
        core.namespace.retained.set_last_number(meta.next_retained.saturating_sub(1));
    }
    for record in recovered.retained {
        let expires_at = record.expires_at.map(|at| clock.at(at));
        core.namespace.retained.restore(Retained {
            message: record.message,
            number: record.number,
            expires_at,
        });
    }
    let mut queues = Queues::default();
    let (groups, clients): (Vec<StoredSession>, Vec<StoredSession>) = recovered
        .sessions
        .into_iter()
        .partition(|session| matches!(session.key, SessionKey::Group(_)));
    for session in groups {
        queues.group(core, &session);
    }
    for session in clients {
        queues.client(core, session, clock);
    }
    for (id, targets) in recovered.messages {
        if let Some(publication) = recovered.read.get(&id) {
            queues.message(core, publication, &targets, clock);
        }
    }
    queues.forget_groups_without_members(core);
}

/// The restored queues, by their numbers.
#[derive(Debug, Default)]
struct Queues {
    clients: HashMap<SessionNo, Client>,
    groups: HashMap<SessionNo, Arc<Group>>,
}

#[derive(Debug)]
struct Client {
    mailbox: Arc<Mailbox>,
    cursor: Cursor,
    /// Messages from this place on cannot have been sent before the broker stopped: known with the first that is there,
    /// since places before it may be those of messages that were never stored, ...
    unsent_from: Option<u64>,
    /// ... nor those that came later than this: the client was away.
    away_since: Option<UnixMillis>,
}

impl Queues {
    fn group(&mut self, core: &Arc<Core>, stored: &StoredSession) {
        let SessionKey::Group(text) = &stored.key else { return };
        let Ok(filter) = SharedFilter::parse(text.as_bytes(), TextRules::PERMISSIVE) else {
            return;
        };
        let last_seq = stored.cursor.next_seq().saturating_sub(1);
        let group = Arc::new(Group::restored(filter.clone(), stored.session, last_seq));
        core.namespace.router.restore_group(&filter, Arc::clone(&group));
        self.groups.insert(stored.session, group);
    }

    fn client(&mut self, core: &Arc<Core>, stored: StoredSession, clock: Clock) {
        let SessionKey::Client(client_id) = stored.key else { return };
        // Connected when the broker stopped: its connection ends now.
        let since = stored.record.disconnected_at.unwrap_or(clock.wall);
        let expiry = SessionExpiry::from_secs(stored.record.expiry_secs);
        let expires_at = (!expiry.is_never()).then(|| {
            clock.monotonic + clock.left(since, Duration::from_secs(expiry.as_secs().into()))
        });
        let will = stored
            .record
            .will
            .map(|will| Will { message: will.message, delay_secs: will.delay_secs });
        let will_at = will.as_ref().map(|will| {
            let at =
                clock.monotonic + clock.left(since, Duration::from_secs(will.delay_secs.into()));
            expires_at.map_or(at, |end| at.min(end))
        });
        let subscriptions: Vec<(SubscriptionFilter, Subscription)> = stored
            .subscriptions
            .into_iter()
            .filter_map(|(text, record)| {
                let filter =
                    SubscriptionFilter::parse(text.as_bytes(), TextRules::PERMISSIVE).ok()?;
                Some((
                    filter,
                    Subscription {
                        options: record.options,
                        subscription_id: record.subscription_id,
                    },
                ))
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
        let mailbox = Arc::new(Mailbox::restored(
            session,
            stored.session,
            &stored.record.owner,
            stored.cursor.next_seq().saturating_sub(1),
        ));
        core.namespace.registry.restore(Arc::clone(&mailbox));
        for (filter, subscription) in &subscriptions {
            self.subscribe(core, &mailbox, filter, *subscription);
        }
        add(&core.counters.sessions_parked, 1);
        if let Some(at) = due {
            core.timers.schedule(at, &mailbox);
        }
        let away_since = stored.record.disconnected_at;
        let client = Client { mailbox, cursor: stored.cursor, unsent_from: None, away_since };
        self.clients.insert(stored.session, client);
    }

    fn subscribe(
        &self,
        core: &Arc<Core>,
        mailbox: &Arc<Mailbox>,
        filter: &SubscriptionFilter,
        subscription: Subscription,
    ) {
        let options = subscription.options;
        let entry = SubscriptionEntry {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id: subscription.subscription_id,
        };
        core.namespace.router.subscribe(
            filter,
            mailbox,
            entry,
            |shared| core.make_group(shared),
            || (),
        );
        add(&core.counters.subscriptions, 1);
        if matches!(filter, SubscriptionFilter::Shared(_)) {
            add(&core.counters.subscriptions_shared, 1);
        }
    }

    fn message(
        &mut self,
        core: &Arc<Core>,
        publication: &Publication,
        targets: &[Target],
        clock: Clock,
    ) {
        let expires_at = publication.expires_at.map(|at| clock.at(at));
        for target in targets {
            let delivery = |sent_before, origin| Delivery {
                message: Arc::clone(&publication.message),
                qos: target.qos,
                retain: target.retain,
                subscription_ids: target.subscription_ids.iter().copied().collect(),
                seq: target.seq,
                expires_at,
                sent_before,
                origin,
            };
            if let Some(group) = self.groups.get(&target.session) {
                let origin = Origin::Shared { group: group.session_no.0, seq: target.seq };
                group.restore(Delivery { seq: 0, ..delivery(false, origin) }, target.seq);
            } else if let Some(client) =
                self.clients.get_mut(&target.session).filter(|client| client.awaits(target))
            {
                let inflight_max = u64::from(core.config.limits.inflight_max);
                client.unsent_from.get_or_insert(target.seq + inflight_max);
                let sent_before = client.may_have_been_sent(target, publication.published_at);
                core.charge(client.mailbox.restore(delivery(sent_before, Origin::Plain)));
            }
        }
    }

    /// A group whose last member is gone ended with it; its record outlived the broker.
    fn forget_groups_without_members(&self, core: &Arc<Core>) {
        let ended = self.groups.values().filter(|group| group.is_empty());
        let entries: Vec<Entry> = ended
            .map(|group| Entry::change(Change::SessionEnded { session: group.session_no }))
            .collect();
        if !entries.is_empty() {
            core.submit_later(Write::new(core, None, entries));
        }
    }
}

impl Client {
    fn may_have_been_sent(&self, target: &Target, published_at: UnixMillis) -> bool {
        self.unsent_from.is_none_or(|from| target.seq < from)
            && self.away_since.is_none_or(|since| published_at <= since)
    }

    /// Whether the client still has to be sent this message: not acknowledged, and not at the point where only PUBREL is.
    fn awaits(&self, target: &Target) -> bool {
        !self.cursor.is_acknowledged(target.seq) && !self.cursor.is_released(target.seq)
    }
}
