//! What clients may do: the rules in force, and what they mean for each client.
//!
//! A client's rights are made when it connects and shared by all that have the same. Its driver asks them once for each
//! topic, and keeps the answer with the route; only subscriptions that reach further than the rights of their client are
//! looked at when routes are made for them, and when messages are taken for them from where they waited.
//!
//! When other rules come into force, a number rises that every driver looks at before it takes anything in. Whoever has a
//! session looks over its subscriptions: its driver, or for a session without a connection the one who changes the rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_access::{
    Explanation, InvalidSubject, Publication, Question, Refusal, Rights, RightsCache, RuleSet,
    Subject, Verdict, explain,
};
use dunlin_codec::{Message, Qos, Text, TopicName};
use dunlin_session::{Delivery, Session, Subscription};
use dunlin_store::{Change, NamespaceNo, SubscriptionRecord};
use dunlin_topics::SubscriptionFilter;
use dunlin_transport::Peer;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::attach::user_of;
use crate::audit;
use crate::core::Core;
use crate::mailbox::Mailbox;
use crate::metrics::{DropReason, add};
use crate::namespace::Namespace;
use crate::persist::{Entry, Write};
use crate::policy::Identity;
use crate::queue::Drops;
use crate::router::SubscriptionEntry;

/// The attribute that `{cert.cn}` stands for.
const COMMON_NAME: &str = "cert.cn";
/// Refusals that are logged in one second, over all clients. Those that are not are counted in the next line.
const LOGGED_PER_SECOND: u32 = 20;

/// What an authenticator vouched for, beside the name: it lives as long as the session, to be asked about when other rules
/// come into force.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Vouched {
    pub(crate) tenant: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Vouched {
    /// None if that is nothing: most clients have a name and no more.
    pub(crate) fn of(identity: &Identity, peer: &Peer) -> Option<Arc<Self>> {
        let Identity { tenant, roles, attributes, .. } = identity;
        let mut attributes = attributes.clone();
        // What the certificate says is proven by the handshake; an authenticator may have said so itself.
        if let Some(name) = peer.certificate().and_then(|it| it.common_name.as_deref())
            && identity.attribute(COMMON_NAME).is_none()
        {
            attributes.push((COMMON_NAME.to_owned(), name.to_owned()));
        }
        let any = tenant.is_some() || !roles.is_empty() || !attributes.is_empty();
        any.then(|| Arc::new(Self { tenant: tenant.clone(), roles: roles.clone(), attributes }))
    }
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Access {
    cache: Mutex<RightsCache>,
    /// Rises when other rules come into force.
    generation: AtomicU64,
    log: Mutex<LogPace>,
}

#[derive(Debug)]
struct LogPace {
    second: Instant,
    logged: u32,
    left_out: u64,
}

impl Access {
    pub(crate) fn new(rules: RuleSet) -> Self {
        Self {
            cache: Mutex::new(RightsCache::new(Arc::new(rules))),
            generation: AtomicU64::new(0),
            log: Mutex::new(LogPace { second: Instant::now(), logged: 0, left_out: 0 }),
        }
    }

    /// Rises when other rules come into force. To be looked at before rights are asked for.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(self.cache.lock().rules())
    }

    /// What a client may do; none if there are no rules, so that it may do everything.
    pub(crate) fn rights(
        &self,
        subject: &Subject<'_>,
    ) -> Result<Option<Arc<Rights>>, InvalidSubject> {
        let mut cache = self.cache.lock();
        if cache.rules().is_open() {
            return Ok(None);
        }
        cache.rights(subject).map(Some)
    }

    /// Has everybody look anew at what holds for it, though the rules are the same.
    pub(crate) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn replace(&self, rules: RuleSet) {
        let mut cache = self.cache.lock();
        cache.replace(Arc::new(rules));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// How many refusals went without a line since the last one; none if this one does too.
    pub(crate) fn may_log(&self) -> Option<u64> {
        let mut pace = self.log.lock();
        let now = Instant::now();
        if now.saturating_duration_since(pace.second) >= Duration::from_secs(1) {
            pace.second = now;
            pace.logged = 0;
        }
        if pace.logged == LOGGED_PER_SECOND {
            pace.left_out += 1;
            return None;
        }
        pace.logged += 1;
        Some(std::mem::take(&mut pace.left_out))
    }
}

/// What a client wanted to do and may not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attempt {
    Publish,
    Subscribe,
    /// At CONNECT, or when it was due.
    Will,
    /// It had subscribed, and may not any more.
    KeepSubscription,
}

impl Attempt {
    const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Will => "will",
            Self::KeepSubscription => "keep_subscription",
        }
    }
}

/// The QoS as rules know it.
pub(crate) const fn bound(qos: Qos) -> dunlin_access::Qos {
    match qos {
        Qos::AtMostOnce => dunlin_access::Qos::AtMostOnce,
        Qos::AtLeastOnce => dunlin_access::Qos::AtLeastOnce,
        Qos::ExactlyOnce => dunlin_access::Qos::ExactlyOnce,
    }
}

/// The QoS as clients know it.
pub(crate) const fn unbound(qos: dunlin_access::Qos) -> Qos {
    match qos {
        dunlin_access::Qos::AtMostOnce => Qos::AtMostOnce,
        dunlin_access::Qos::AtLeastOnce => Qos::AtLeastOnce,
        dunlin_access::Qos::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// The highest QoS at which a message that is not retained may be published to a topic; none if it may not at all.
pub(crate) fn qos_max(rights: Option<&Rights>, topic: &[u8]) -> Option<Qos> {
    let Some(rights) = rights else { return Some(Qos::ExactlyOnce) };
    let may = |qos: &Qos| {
        let message = Publication { topic, qos: bound(*qos), retain: false };
        rights.publish(&message).is_allowed()
    };
    [Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::AtMostOnce].into_iter().find(may)
}

/// Why a message may not be published; none if it may.
pub(crate) fn objection(
    rights: Option<&Rights>,
    topic: &[u8],
    qos: Qos,
    retain: bool,
) -> Option<Refusal> {
    let message = Publication { topic, qos: bound(qos), retain };
    match rights?.publish(&message) {
        dunlin_access::Decision::Allowed(_) => None,
        dunlin_access::Decision::Refused(refusal) => Some(refusal),
    }
}

/// What becomes of a filter that a client wants to subscribe to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grant {
    /// Granted at this QoS; whether each topic has to be looked at.
    Granted {
        qos: Qos,
        filtered: bool,
    },
    Refused(Refusal),
}

/// What becomes of a filter under some rights.
pub(crate) fn grant(rights: Option<&Rights>, filter: &SubscriptionFilter, qos: Qos) -> Grant {
    let Some(rights) = rights else { return Grant::Granted { qos, filtered: false } };
    match rights.subscribe(filter.topic_filter(), bound(qos)) {
        Verdict::Granted(max) => Grant::Granted { qos: qos.min(unbound(max)), filtered: false },
        Verdict::Filtered(max) => Grant::Granted { qos: qos.min(unbound(max)), filtered: true },
        Verdict::Refused(refusal) => Grant::Refused(refusal),
    }
}

/// What was queued for a session before it lost subscriptions, and is to be looked at when it is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Recheck {
    /// Places up to this one; 0 for none.
    pub(crate) upto: u64,
    /// Whether a subscription has to be there for it, and not only the right to one.
    pub(crate) by_subscription: bool,
}

impl Recheck {
    /// For those of whom nearly all have none.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        (self.upto > 0).then(|| Box::new(self))
    }

    /// Whether what was queued may still be sent.
    pub(crate) fn passes(
        self,
        delivery: &Delivery,
        rights: Option<&Rights>,
        session: Option<&Session>,
    ) -> bool {
        let topic = &delivery.message.topic;
        let allowed = rights.is_none_or(|rights| rights.deliver(topic.as_bytes()).is_allowed());
        let wanted = || session.is_some_and(|session| wants(session, topic));
        allowed && (!self.by_subscription || wanted())
    }
}

fn wants(session: &Session, topic: &TopicName) -> bool {
    session.subscriptions().any(|(filter, _)| filter.topic_filter().matches(topic))
}

impl Core {
    /// A client as the rules see it.
    pub(crate) fn subject<'a>(
        &self,
        namespace: &'a Namespace,
        user: &'a str,
        client_id: &'a str,
        vouched: Option<&'a Vouched>,
    ) -> Subject<'a> {
        // Where tenants have no namespaces, the default one has no name: all share it, and a tenant is what an authenticator
        // said of its client.
        let named =
            namespace.number != NamespaceNo::DEFAULT || !self.config().tenants.rules.is_empty();
        let vouched_tenant = vouched.and_then(|vouched| vouched.tenant.as_deref());
        Subject {
            user: (!user.is_empty()).then_some(user),
            tenant: if named { Some(&*namespace.name) } else { vouched_tenant },
            client_id,
            roles: vouched.map_or(&[], |vouched| &vouched.roles),
            attributes: vouched.map_or(&[], |vouched| &vouched.attributes),
        }
    }

    /// Finds out anew what a session's client may do, and what its subscriptions are held against from now on. `false` if
    /// the rules have no answer for such a client: it may do nothing then.
    pub(crate) fn renew_rights(&self, mailbox: &Mailbox) -> bool {
        let owner = mailbox.owner();
        let vouched = mailbox.vouched();
        let client_id = mailbox.client_id.as_str();
        let user = user_of(&owner);
        let subject = self.subject(&mailbox.namespace, user, client_id, vouched.as_deref());
        match self.access.rights(&subject) {
            Ok(rights) => {
                mailbox.set_rights(rights);
                true
            }
            Err(error) => {
                tracing::warn!(target: audit::TARGET, event = "client_without_rights", tenant = %mailbox.namespace.name, client_id, %error);
                mailbox.set_rights(nothing());
                false
            }
        }
    }

    /// Holds a session's subscriptions against the rights of its client as they are now: those lost are removed, and what
    /// is queued by them alone is dropped. Gives what the store has to be told. The caller has the session.
    pub(crate) fn look_over(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        session: &mut Session,
    ) -> Vec<Entry> {
        let rights = mailbox.rights();
        let mut entries = Vec::new();
        let mut lost = Vec::new();
        let mut any_filtered = false;
        let subscriptions: Vec<(SubscriptionFilter, Subscription)> =
            session.subscriptions().map(|(filter, each)| (filter.clone(), *each)).collect();
        for (filter, subscription) in subscriptions {
            let asked = subscription.options.qos;
            match grant(rights.as_deref(), &filter, asked) {
                Grant::Granted { qos, filtered } => {
                    any_filtered |= filtered;
                    let entry =
                        SubscriptionEntry { qos, filtered, ..SubscriptionEntry::of(&subscription) };
                    self.adjust(mailbox, &filter, entry);
                    if qos < asked
                        && let Some(limited) = session.limit_subscription(filter.as_bytes(), qos)
                    {
                        entries.extend(subscribed(mailbox, &filter, &limited));
                    }
                }
                Grant::Refused(refusal) => {
                    add(&mailbox.namespace.counters.subscriptions_removed, 1);
                    let attempt = Attempt::KeepSubscription;
                    self.refused(mailbox, attempt, filter.as_str(), refusal);
                    session.remove_subscription(filter.as_bytes());
                    entries.extend(self.take_subscription_away(mailbox, &filter).1);
                    lost.push(filter);
                }
            }
        }
        // A subscription that stays whole has nothing in the queue that its client may not have.
        if !lost.is_empty() || any_filtered {
            self.drop_what_was_lost(mailbox, session, &lost);
        }
        entries
    }

    /// A subscription stays, perhaps with less than before.
    fn adjust(
        &self,
        mailbox: &Arc<Mailbox>,
        filter: &SubscriptionFilter,
        entry: SubscriptionEntry,
    ) {
        let namespace = &mailbox.namespace;
        // Others' routes are left alone where nothing changes.
        if namespace.router.entry(filter, mailbox) != Some(entry) {
            let make = |shared: &_| Self::make_group(namespace, shared);
            namespace.router.subscribe(filter, mailbox, entry, make, || ());
        }
    }

    /// Removes a subscription, with what of a shared group waits for this member. Says whether it was there, and what the
    /// store has to be told.
    pub(crate) fn take_subscription_away(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        filter: &SubscriptionFilter,
    ) -> (bool, Option<Entry>) {
        // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1]
        let group = match filter {
            SubscriptionFilter::Shared(shared) => mailbox.namespace.router.group(shared),
            SubscriptionFilter::Plain(_) => None,
        };
        let existed = self.unsubscribe(filter, mailbox);
        if let Some(group) = group {
            // What was not sent is for the others; what was begun is completed. [MQTT-3.10.4-3]
            // [MQTT-3.10.4-3 @3.1.1]
            let unsent = mailbox.take_where(|delivery| group.sent(delivery));
            self.give_back(mailbox, unsent);
        }
        let stored = existed && mailbox.is_durable();
        let filter = Text::try_from(filter.as_str()).ok().filter(|_| stored);
        let session = mailbox.session_no;
        let unsubscribed = |filter| Entry::change(Change::Unsubscribed { session, filter });
        (existed, filter.map(unsubscribed))
    }

    /// Drops what is queued for subscriptions that were lost, if no other wants it, and what the client may not have any more
    /// though its subscription stays. A shared group's messages are for its other members.
    fn drop_what_was_lost(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox>,
        session: &Session,
        lost: &[SubscriptionFilter],
    ) {
        let rights = mailbox.rights();
        let gone = mailbox.take_where(|delivery| {
            let topic = &delivery.message.topic;
            let forbidden =
                rights.as_ref().is_some_and(|it| !it.deliver(topic.as_bytes()).is_allowed());
            let unwanted = || {
                !delivery.origin.is_shared()
                    && lost.iter().any(|filter| filter.topic_filter().matches(topic))
                    && !wants(session, topic)
            };
            forbidden || unwanted()
        });
        let (shared, gone): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|delivery| delivery.origin.is_shared());
        self.give_back(mailbox, shared);
        let mut drops = Drops::default();
        for delivery in gone {
            drops.one(DropReason::NotAuthorized, delivery);
        }
        self.report(mailbox, drops);
        // What only the store has shows its topic when it is read.
        mailbox.recheck_queue(!lost.is_empty());
    }

    /// Puts other rules in force. Resolves when every session has lost what they take away.
    pub(crate) async fn set_rules(self: &Arc<Self>, rules: RuleSet) {
        self.access.replace(rules);
        let owners = TaskTracker::new();
        self.for_each_session(|mailbox| {
            // What nobody has vouched for since the start is looked over when its client comes.
            if mailbox.is_known() && !mailbox.ask_to_look_over(|| owners.token()) {
                self.look_over_parked(mailbox);
            }
        });
        owners.close();
        owners.wait().await;
    }

    fn look_over_parked(self: &Arc<Self>, mailbox: &Arc<Mailbox>) {
        // Out of its lock, which others are taken under. Who claims it meanwhile waits.
        let Some(mut session) = mailbox.take_parked_if(|_| true) else { return };
        self.renew_rights(mailbox);
        let entries = self.look_over(mailbox, &mut session);
        if !entries.is_empty() {
            self.submit_later(Write::new(self, None, entries));
        }
        let due = session.next_deadline();
        let mut drops = Drops::default();
        mailbox.namespace.charge(mailbox.park(session, &mut drops));
        self.report(mailbox, drops);
        if let Some(at) = due {
            self.timers.schedule(at, mailbox);
        }
    }

    /// Whether a will may go out now: its client's rights may be others than they were at CONNECT.
    pub(crate) fn will_may_go_out(&self, mailbox: &Arc<Mailbox>, message: &Message) -> bool {
        let rights = mailbox.rights();
        let topic = message.topic.as_bytes();
        match objection(rights.as_deref(), topic, message.qos, message.retain) {
            None => true,
            Some(refusal) => {
                add(&mailbox.namespace.counters.wills_refused, 1);
                let counters = &mailbox.namespace.counters;
                let client_id = mailbox.client_id.as_str();
                self.report_publish(counters, client_id, Some(message), DropReason::NotAuthorized);
                self.refused(mailbox, Attempt::Will, message.topic.as_str(), refusal);
                false
            }
        }
    }

    /// Says that a client may not do what it wanted to, and which rule says so. Counted by the caller.
    pub(crate) fn refused(
        &self,
        mailbox: &Mailbox,
        attempt: Attempt,
        topic: &str,
        refusal: Refusal,
    ) {
        let Some(left_out) = self.access.may_log() else { return };
        let owner = mailbox.owner();
        let rule = mailbox.rights().and_then(|rights| rule_text(rights.rules(), refusal));
        let client_id = mailbox.client_id.as_str();
        let tenant = &*mailbox.namespace.name;
        let user = user_of(&owner);
        tell(Refused { tenant, user, client_id, attempt, topic, refusal, rule, left_out });
    }

    /// The same for a client that has no session yet.
    pub(crate) fn refused_at_connect(
        &self,
        subject: &Subject<'_>,
        topic: &str,
        rights: &Rights,
        refusal: Refusal,
    ) {
        let Some(left_out) = self.access.may_log() else { return };
        tell(Refused {
            tenant: subject.tenant.unwrap_or_default(),
            user: subject.user.unwrap_or_default(),
            client_id: subject.client_id,
            attempt: Attempt::Will,
            topic,
            refusal,
            rule: rule_text(rights.rules(), refusal),
            left_out,
        });
    }

    /// Why a client may do something or not, under the rules in force.
    pub(crate) fn explain(
        &self,
        namespace: &Namespace,
        client_id: &str,
        identity: &Identity,
        question: Question,
    ) -> Explanation {
        let vouched = Vouched::of(identity, &Peer::default());
        let user = &identity.user;
        let subject = self.subject(namespace, user, client_id, vouched.as_deref());
        explain(&self.access.rules(), &subject, question)
    }
}

/// One line of the log.
struct Refused<'a> {
    tenant: &'a str,
    user: &'a str,
    client_id: &'a str,
    attempt: Attempt,
    topic: &'a str,
    refusal: Refusal,
    rule: Option<String>,
    left_out: u64,
}

fn tell(refused: Refused<'_>) {
    let Refused { tenant, user, client_id, attempt, topic, refusal, rule, left_out } = refused;
    tracing::warn!(
        target: audit::TARGET,
        event = "access_refused",
        tenant,
        user,
        client_id,
        action = attempt.name(),
        topic,
        reason = %refusal,
        rule,
        left_out,
        "not allowed"
    );
}

/// The rule that decided, with its place.
pub(crate) fn rule_text(rules: &RuleSet, refusal: Refusal) -> Option<String> {
    let rule = rules.rule(refusal.rule()?)?;
    Some(format!("{}: {rule}", rule.origin()))
}

/// The rights of a client that the rules have no answer for.
fn nothing() -> Option<Arc<Rights>> {
    let mut rules = RuleSet::builder();
    rules.close();
    Rights::new(&Arc::new(rules.build()), &Subject::default()).ok().map(Arc::new)
}

/// What the store is told of a subscription.
pub(crate) fn subscribed(
    mailbox: &Mailbox,
    filter: &SubscriptionFilter,
    subscription: &Subscription,
) -> Option<Entry> {
    if !mailbox.is_durable() {
        return None;
    }
    let filter = Text::try_from(filter.as_str()).ok()?;
    let Subscription { options, subscription_id } = *subscription;
    let record = SubscriptionRecord { options, subscription_id };
    Some(Entry::change(Change::Subscribed { session: mailbox.session_no, filter, record }))
}
