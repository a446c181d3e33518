//! What a connection waits for: who the client is, its session, a hook's word.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dunlin_access::{Rights, Visitor};
use dunlin_codec::ReasonCode;
use dunlin_session::{Attach, Authenticate, Cause, Input, Outputs, SubscribeItem, Token};
use dunlin_topics::SubscriptionFilter;

use crate::access::{Vouched, objection};
use crate::attach::{self, Forbidden, NotAttached, Owned, attach, is_name, owner_of};
use crate::audit;
use crate::budget::Pressure;
use crate::chain::Chain;
use crate::config::Config;
use crate::core::Core;
use crate::end::EndReason;
use crate::fanout::Staging;
use crate::hooks::{Client, Guarded};
use crate::listen::Places;
use crate::metrics::add;
use crate::namespace::{Namespace, TenantError};
use crate::policy::{AuthRequest, BoxFuture, Decision, Identity};
use crate::quotas::{Held, NotAdmitted, Who};
use crate::share::Group;
use crate::tenants::Comer;

use super::delivering::wire_of;
use super::quota::refusal;
use super::requests::Judged;
use super::{Driver, State};

/// Connections that the system is asked for randomness at once.
const DRAWN_MAX: usize = 16;

/// What a connection may have until it is open.
#[derive(Default)]
pub(super) struct Opening {
    /// Wakes a connection that sleeps and has no mailbox yet when the broker shuts down, or its listener goes. Most clients
    /// have sent CONNECT when they are accepted, and their connections never sleep without a mailbox.
    closing: Option<BoxFuture<'static, ()>>,
    /// What an authenticator wants back with the client's next AUTH, and the chain that it is of.
    exchange: Option<(Arc<Chain>, Box<dyn Any + Send>)>,
}

/// Resolves when the broker shuts down or the listener of these places goes.
fn closing(core: &Core, places: &Places) -> BoxFuture<'static, ()> {
    let closed = core.closed();
    let mut removal = places.removal();
    Box::pin(async move {
        tokio::select! {
            () = closed => {}
            _ = removal.wait_for(|removed| *removed) => {}
        }
    })
}

/// An answer that a connection waits for. Nothing more is read from the client before it is there.
pub(super) enum Pending {
    /// Who the client is.
    Authenticate(BoxFuture<'static, (Arc<Chain>, Decision)>),
    /// Its session.
    Attach(BoxFuture<'static, Result<Owned, NotAttached>>),
    /// What hooks say to its filters.
    Subscribe { token: Token, filters: usize, judged: BoxFuture<'static, Option<Judged>> },
}

/// What came of it.
enum Answer {
    Authenticate((Arc<Chain>, Decision)),
    Attach(Result<Owned, NotAttached>),
    Subscribe(Option<Judged>),
}

impl Pending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Self::Authenticate(future) => future.as_mut().poll(cx).map(Answer::Authenticate),
            Self::Attach(future) => future.as_mut().poll(cx).map(Answer::Attach),
            Self::Subscribe { judged, .. } => judged.as_mut().poll(cx).map(Answer::Subscribe),
        }
    }
}

impl Driver {
    /// While there is no mailbox to tell it, a connection has to see itself that the broker shuts down or its listener goes.
    #[inline]
    pub(super) fn look_after_opening(&mut self, staging: &mut Staging, now: Instant) {
        if self.mailbox.is_some() {
            return;
        }
        if self.core.is_closing() {
            self.evict(EndReason::ShuttingDown, staging, now);
        } else if self.listener.places.is_removed() {
            self.evict(EndReason::ListenerRemoved, staging, now);
        }
    }

    /// Before it sleeps without a mailbox, a connection sees to it that it is woken for that.
    #[inline]
    pub(super) fn wake_at_closing(&mut self, cx: &mut Context<'_>) {
        if self.mailbox.is_some() || self.state != State::Open {
            return;
        }
        let (core, places) = (&self.core, &self.listener.places);
        let opening = self.opening.get_or_insert_default();
        let closing = opening.closing.get_or_insert_with(|| closing(core, places));
        if closing.as_mut().poll(cx).is_ready() {
            opening.closing = None;
            cx.waker().wake_by_ref();
        }
    }

    /// Goes on with what was waited for, if it is there.
    pub(super) fn poll_pending(
        &mut self,
        staging: &mut Staging,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        while let Some(pending) = &mut self.pending {
            let Poll::Ready(answer) = pending.poll(cx) else { return };
            self.pending = None;
            match answer {
                Answer::Authenticate((chain, decision)) => {
                    self.authenticated(chain, decision, staging, now);
                }
                Answer::Attach(result) => self.attached(result, staging, now),
                Answer::Subscribe(Some(judged)) => {
                    let mut out = Outputs::new();
                    let request = self.subscribed(judged, staging);
                    self.answer(request, &mut out, staging, now);
                    self.carry_out_all(&mut out, staging, now);
                }
                Answer::Subscribe(None) => self.panicked(staging, now),
            }
        }
    }

    pub(super) fn authenticate(&mut self, request: &Authenticate<'_>) {
        let exchange = self.opening.as_mut().and_then(|opening| opening.exchange.take());
        // Others may be asked from now on, but who has begun goes on.
        let (chain, state) = match exchange {
            Some((chain, state)) => (chain, Some(state)),
            None => (self.listener.places.chain(), None),
        };
        let (remote, listener) = (&self.remote, self.listener.name());
        let tenant = &self.core.namespaces.default().name;
        let client = self.client.get_or_insert_with(|| {
            Box::new(Client {
                client_id: request.client_id.as_str().to_owned(),
                tenant: Arc::clone(tenant),
                version: request.version,
                address: remote.address(),
                peer: remote.peer(),
                listener: Arc::clone(listener),
                identity: Identity::anonymous(),
            })
        });
        let request = AuthRequest {
            client_id: client.client_id.clone(),
            version: request.version,
            address: client.address,
            peer: client.peer.clone(),
            listener: client.listener.to_string(),
            user_name: request.user_name.map(str::to_owned),
            password: request.password.map(Bytes::copy_from_slice),
            method: request.method.as_ref().map(|method| method.as_str().to_owned()),
            data: request.data.map(Bytes::copy_from_slice),
            reauthentication: self.mailbox.is_some(),
            state,
        };
        let core = Arc::clone(&self.core);
        // Before anybody is asked about it: what it shows costs nothing then.
        let visitor = Visitor {
            address: client.address.map(|address| address.ip()),
            client_id: Some(&client.client_id),
            ..Visitor::default()
        };
        if self.mailbox.is_none() && core.is_banned(&visitor) {
            let refused = std::future::ready((chain, Decision::Refuse(ReasonCode::Banned)));
            self.pending = Some(Box::new(Pending::Authenticate(Box::pin(refused))));
            return;
        }
        let allow_anonymous = self.listener.allow_anonymous;
        if let Some(decision) = chain.judge_at_once(&core.counters, allow_anonymous, &request) {
            let judged = std::future::ready((chain, decision));
            self.pending = Some(Box::new(Pending::Authenticate(Box::pin(judged))));
            return;
        }
        self.pending = Some(Box::new(Pending::Authenticate(Box::pin(async move {
            let deadline = core.config().limits.hook_deadline;
            let decision = chain.judge(&core.counters, deadline, allow_anonymous, request).await;
            (chain, decision)
        }))));
    }

    fn authenticated(
        &mut self,
        chain: Arc<Chain>,
        decision: Decision,
        staging: &mut Staging,
        now: Instant,
    ) {
        let input = match decision {
            // The session belongs to who made it: proven anew, the client has to be the same.
            Decision::Accept { identity, .. } if !self.may_be(&identity) => {
                Input::Authenticated(Err(ReasonCode::NotAuthorized))
            }
            Decision::Accept { identity, data } => {
                if self.mailbox.is_none()
                    && let Err(violation) = self.offer(&identity)
                {
                    self.count_refused_offer(&violation, &identity);
                    let mut out = Outputs::new();
                    self.settle(Err(violation), &mut out, staging, now);
                    return;
                }
                if let Some(mailbox) = &self.mailbox {
                    self.opening = None;
                    // Proven anew, it may have other roles than before.
                    mailbox.introduce(
                        Vouched::of(&identity, &self.remote.peer()),
                        self.rights.clone(),
                    );
                    self.rules_seen = u64::MAX;
                }
                if let Some(client) = &mut self.client {
                    client.identity = identity;
                }
                Input::Authenticated(Ok(data))
            }
            Decision::Refuse(reason) => {
                let failed =
                    matches!(reason, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized);
                if failed && let Some(address) = self.remote.address() {
                    self.core.login_failed(address.ip(), now);
                }
                Input::Authenticated(Err(reason))
            }
            Decision::PassOn => Input::Authenticated(Err(ReasonCode::NotAuthorized)),
            Decision::Continue { data, state } => {
                self.opening.get_or_insert_default().exchange = Some((chain, state));
                Input::AuthContinue(data)
            }
        };
        self.feed(input, staging, now);
    }

    /// Whether the client of this connection may turn out to be `identity`: anybody with a name at CONNECT, later nobody else.
    fn may_be(&self, identity: &Identity) -> bool {
        if !is_name(&identity.user) {
            return false;
        }
        let Some(mailbox) = &self.mailbox else { return true };
        let client = self
            .client
            .as_ref()
            .map(|client| Client { identity: identity.clone(), ..Client::clone(client) });
        let config = self.core.config();
        let same_tenant = client.is_some_and(|client| {
            tenant_of(&config, &client).as_deref() == Some(&*mailbox.namespace.name)
        });
        let anonymous_user = self.listener.anonymous_user.as_deref();
        same_tenant && *mailbox.owner() == *owner_of(identity, anonymous_user)
    }

    pub(super) fn attach(&mut self, request: Attach) {
        let core = Arc::clone(&self.core);
        let mut client = self.client.clone();
        let listener = Arc::clone(&self.listener);
        // As the rules are before they are asked.
        self.rules_seen = core.access.generation();
        self.pending = Some(Box::new(Pending::Attach(Box::pin(async move {
            if core.is_closing() {
                return Err(NotAttached::Refused(ReasonCode::ServerUnavailable));
            }
            // The first load to be shed is that of new connections.
            if core.budget.pressure() >= Pressure::RefuseConnections {
                return Err(NotAttached::Refused(ReasonCode::QuotaExceeded));
            }
            // A machine asks for a session only after the question who its client is.
            let Some(client) = client.as_deref_mut() else {
                return Err(NotAttached::Refused(ReasonCode::NotAuthorized));
            };
            let namespace = choose(&core, client)?;
            client.tenant = Arc::clone(&namespace.name);
            if is_banned(&core, &namespace, client) {
                return Err(NotAttached::Refused(ReasonCode::Banned));
            }
            if core.interests.connect {
                let deadline = core.config().limits.hook_deadline;
                match tokio::time::timeout(deadline, Guarded(core.hooks.on_connect(client))).await {
                    Ok(Some(verdict)) => verdict.map_err(NotAttached::Refused)?,
                    Ok(None) => return Err(NotAttached::HookPanicked),
                    Err(_) => return Err(NotAttached::Refused(ReasonCode::ServerBusy)),
                }
            }
            let vouched = Vouched::of(&client.identity, &client.peer);
            let rights = rights_of(&core, &namespace, client, vouched.as_deref(), &request)?;
            let quota = admit(&core, &namespace, client, &request)?;
            let owner = owner_of(&client.identity, listener.anonymous_user.as_deref());
            attach(core, attach::Comer { namespace, owner, vouched, rights, quota }, request).await
        }))));
    }

    fn attached(
        &mut self,
        result: Result<Owned, NotAttached>,
        staging: &mut Staging,
        now: Instant,
    ) {
        let mut owned = match result {
            Ok(owned) => owned,
            Err(error) => {
                let reason = match error {
                    NotAttached::Refused(reason) => reason,
                    NotAttached::OverQuota(event) => {
                        let (scope, limit) = (event.scope.name(), event.limit.name());
                        let detail = format!("the limit of the {scope}");
                        self.note_end(EndReason::Refused, Some(limit), detail);
                        refusal(event)
                    }
                    NotAttached::Forbidden(why) => {
                        self.note_end(EndReason::Refused, Some("access"), why.to_string());
                        ReasonCode::NotAuthorized
                    }
                    NotAttached::Superseded => ReasonCode::ServerBusy,
                    NotAttached::StoreFailed => ReasonCode::ServerUnavailable,
                    NotAttached::HookPanicked => {
                        add(&self.core.counters.hook_panics, 1);
                        ReasonCode::UnspecifiedError
                    }
                };
                self.evicted = Some(error.end_reason());
                self.feed(Input::Close(Cause::Reason(reason)), staging, now);
                return;
            }
        };
        let Some(session) = owned.take() else { return };
        if let Some(client) = &mut self.client {
            client.tenant = Arc::clone(&owned.mailbox.namespace.name);
        }
        let mailbox = Arc::clone(&owned.mailbox);
        self.mailbox = Some(Arc::clone(&mailbox));
        self.quota = owned.quota.take();
        self.core.counters.client_connected();
        mailbox.namespace.counters.client_connected();
        self.feed(
            Input::Attached { session, session_present: owned.session_present },
            staging,
            now,
        );
        let Some(session) = self.machine.session() else { return };
        let router = &mailbox.namespace.router;
        let groups: Vec<Arc<Group>> = session
            .subscriptions()
            .filter_map(|(filter, _)| match filter {
                SubscriptionFilter::Shared(shared) => router.group(shared),
                SubscriptionFilter::Plain(_) => None,
            })
            .collect();
        let durable = session.is_durable();
        self.rights = mailbox.rights();
        self.recheck = mailbox.recheck().boxed();
        if !groups.is_empty() {
            self.busy(now).groups = groups;
        }
        let wire = wire_of(&self.machine, self.core.interests.deliver);
        let places = &self.listener.places;
        mailbox.attach(wire, durable, self.machine.peer_packet_size_max(), places.number);
        self.limits.packet_size_max = self.machine.capabilities().maximum_packet_size;
        self.keep_queue_limits(&mailbox);
        places.handshake_over(&mut self.in_handshake);
        // From here on the mailbox tells.
        self.opening = None;
        if self.core.is_closing() {
            mailbox.evict(EndReason::ShuttingDown);
        } else if self.listener.places.is_removed() {
            mailbox.evict(EndReason::ListenerRemoved);
        }
        // Who it is matters from here on to hooks and to authenticators only.
        let interests = self.core.interests;
        let hooked = interests.publish || interests.subscribe || interests.deliver;
        if !hooked && self.expires().is_none() && self.listener.places.chain().is_empty() {
            self.client = None;
        }
        let replays = mailbox.take_replays();
        self.add_replays(replays, now);
    }
}

/// The name of the tenant that a client belongs to; none if such clients are refused.
pub(super) fn tenant_of(config: &Config, client: &Client) -> Option<String> {
    // What a proxy says that the client asked for goes before what it asked the proxy's own connection for.
    let details = client.peer.details.as_deref();
    let proxied = details.and_then(|details| details.proxy.as_ref()?.server_name.as_deref());
    let tls = details.and_then(|details| details.tls.as_ref()?.server_name.as_deref());
    let server_name = proxied.or(tls).map(str::to_ascii_lowercase);
    let (identity, listener) = (&client.identity, &client.listener);
    let comer = Comer { identity, listener, server_name: server_name.as_deref() };
    config.tenants.tenant_of(comer).map(str::to_owned)
}

/// What a client may do. One that the rules have no answer for is refused, and one whose will it may not publish.
fn rights_of(
    core: &Core,
    namespace: &Namespace,
    client: &Client,
    vouched: Option<&Vouched>,
    request: &Attach,
) -> Result<Option<Arc<Rights>>, NotAttached> {
    let subject = core.subject(namespace, &client.identity.user, &client.client_id, vouched);
    let rights = core.access.rights(&subject).map_err(|error| {
        tracing::warn!(target: audit::TARGET, event = "client_without_rights", tenant = %namespace.name, client_id = client.client_id, %error);
        NotAttached::Forbidden(Forbidden::Subject)
    })?;
    let (Some(rights), Some(will)) = (&rights, &request.will) else { return Ok(rights) };
    let message = &will.message;
    let topic = message.topic.as_bytes();
    let Some(refusal) = objection(Some(&**rights), topic, message.qos, message.retain) else {
        return Ok(Some(Arc::clone(rights)));
    };
    add(&namespace.counters.wills_refused, 1);
    core.refused_at_connect(&subject, message.topic.as_str(), rights, refusal);
    Err(NotAttached::Forbidden(Forbidden::Will(refusal)))
}

/// Whether a client that is known now is not let in.
fn is_banned(core: &Core, namespace: &Namespace, client: &Client) -> bool {
    let user = &client.identity.user;
    let visitor = Visitor {
        address: None,
        user: (!user.is_empty()).then_some(user),
        client_id: Some(&client.client_id),
        tenant: Some(&namespace.name),
    };
    core.is_banned(&visitor) || core.flaps(&namespace.name, &client.client_id, Instant::now())
}

/// The client's places in the accounts that limit it, if any does.
fn admit(
    core: &Core,
    namespace: &Namespace,
    client: &Client,
    request: &Attach,
) -> Result<Option<Box<Held>>, NotAttached> {
    let who = Who {
        tenant: &namespace.name,
        user: &client.identity.user,
        client_id: &client.client_id,
        roles: &client.identity.roles,
        listener: &client.listener,
    };
    let takes_over = || {
        let present = namespace.registry.find(&request.client_id);
        present.is_some_and(|mailbox| mailbox.is_online() && *mailbox.owner() == *who.user)
    };
    core.quotas.admit(who, takes_over, Instant::now()).map_err(|refused| {
        let NotAdmitted { event, whose } = refused;
        core.quota_exceeded(&namespace.counters, event, &whose, who.client_id);
        NotAttached::OverQuota(event)
    })
}

/// The namespace that a client comes into.
fn choose(core: &Core, client: &Client) -> Result<Arc<Namespace>, NotAttached> {
    let Some(tenant) = tenant_of(&core.config(), client) else {
        return Err(NotAttached::Refused(ReasonCode::NotAuthorized));
    };
    let tenant = tenant.as_str();
    core.open_namespace(tenant).map_err(|error| {
        tracing::warn!(event = "tenant_refused", tenant, client_id = client.client_id, %error);
        NotAttached::Refused(match error {
            TenantError::TooMany => ReasonCode::QuotaExceeded,
            TenantError::InvalidName => ReasonCode::NotAuthorized,
            TenantError::Closed => ReasonCode::ServerUnavailable,
        })
    })
}

/// Asks the hooks about each filter, in order; none if one panicked.
pub(super) async fn judge(
    core: Arc<Core>,
    client: Box<Client>,
    token: Token,
    mut items: Vec<SubscribeItem>,
) -> Option<Judged> {
    let deadline = core.config().limits.hook_deadline;
    for item in &mut items {
        let Ok(filter) = &item.filter else { continue };
        let asked = core.hooks.on_subscribe(&client, filter.as_str(), item.options);
        match tokio::time::timeout(deadline, Guarded(asked)).await {
            Ok(Some(Ok(options))) => item.options = options,
            Ok(Some(Err(reason))) => item.filter = Err(reason),
            Ok(None) => return None,
            Err(_) => item.filter = Err(ReasonCode::UnspecifiedError),
        }
    }
    Some(Judged { token, items })
}

/// Randomness for a Client Identifier that nobody can guess. The system is asked for that of some connections at once; what
/// was given out is not kept.
pub(super) fn entropy() -> u128 {
    thread_local! {
        static DRAWN: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    let drawn = DRAWN.with(|drawn| {
        let mut drawn = drawn.borrow_mut();
        if drawn.is_empty() {
            drawn.resize(DRAWN_MAX, [0; 16]);
            if getrandom::fill(drawn.as_flattened_mut()).is_err() {
                drawn.clear();
            }
        }
        let next = drawn.last_mut().map(std::mem::take);
        drawn.pop();
        next
    });
    match drawn {
        Some(bytes) => u128::from_le_bytes(bytes),
        // Without a source of randomness, what the process's hash maps were seeded with is the best there is.
        None => {
            use std::hash::BuildHasher;
            let state = std::hash::RandomState::new();
            u128::from(state.hash_one(0)) << 64 | u128::from(state.hash_one(1))
        }
    }
}
