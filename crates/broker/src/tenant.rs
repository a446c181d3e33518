//! One tenant, as the process around the broker sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dunlin_access::{Explanation, Question};
use dunlin_codec::{ClientId, Message, ReasonCode};

use crate::core::Core;
use crate::end::EndReason;
use crate::local::{self, PublishError, SubscribeError, SubscribeOptions, Subscription};
use crate::mailbox::Mailbox;
use crate::metrics::{DropReason, Metrics};
use crate::namespace::Namespace;
use crate::policy::Identity;

/// One tenant of a [`Broker`](crate::Broker): its clients, topics, retained messages and shared groups, and nobody else's.
///
/// It holds the broker's memory, but does not keep it from closing.
#[derive(Clone)]
pub struct Tenant {
    core: Arc<Core>,
    namespace: Arc<Namespace>,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenant").field(&self.namespace.name).finish()
    }
}

impl Tenant {
    pub(crate) fn new(core: &Arc<Core>, namespace: Arc<Namespace>) -> Self {
        Self { core: Arc::clone(core), namespace }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.namespace.name
    }

    /// Publishes a message from inside the process, as a client would. With QoS above 0 it resolves when a PUBACK would
    /// have been sent, and to what the PUBACK would say.
    ///
    /// # Errors
    ///
    /// [`PublishError`] when a hook or a limit refuses it, or the store cannot take it.
    pub async fn publish(&self, message: Message) -> Result<ReasonCode, PublishError> {
        local::publish(&self.core, &self.namespace, message).await
    }

    /// Subscribes from inside the process, as a client would; shared filters too.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when the filter is invalid or a hook refuses it.
    pub async fn subscribe(
        &self,
        filter: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        local::subscribe(&self.core, &self.namespace, filter, options).await
    }

    /// What its clients did and have, from their CONNECT on. What belongs to no tenant, such as refused connections or
    /// the store, is zero here and in [`Broker::metrics`](crate::Broker::metrics).
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.namespace.metrics()
    }

    /// Copies of messages that a client did not get since its session began, by reason; none if it has no session. The
    /// numbers live as long as the session, and not over a restart.
    #[must_use]
    pub fn drops(&self, client_id: &str) -> Option<BTreeMap<DropReason, u64>> {
        self.find(client_id).map(|mailbox| mailbox.drops())
    }

    /// Closes the Network Connection of a client, whose session stays; whether there is such a session.
    #[must_use]
    pub fn disconnect(&self, client_id: &str) -> bool {
        let found = self.find(client_id);
        found.inspect(|mailbox| mailbox.evict(EndReason::Kicked)).is_some()
    }

    /// Why a client that turns out to be `identity` may do something, or not, under the rules in force.
    #[must_use]
    pub fn explain(&self, client_id: &str, identity: &Identity, question: Question) -> Explanation {
        self.core.explain(&self.namespace, client_id, identity, question)
    }

    fn find(&self, client_id: &str) -> Option<Arc<Mailbox>> {
        self.namespace.registry.find(&ClientId::new(client_id.to_owned()).ok()?)
    }
}
