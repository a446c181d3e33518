//! The subscriptions of a session.

use dunlin_codec::{SubscriptionFilter, SubscriptionId, SubscriptionOptions, TextRules};

/// One subscription; its filter is the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscription {
    /// The options as granted, so with the granted QoS.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier, if the client gave one.
    pub subscription_id: Option<SubscriptionId>,
}

/// Subscriptions in the order of their filters' bytes. A vector, because most sessions have few.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Vec<(SubscriptionFilter, Subscription)>);

impl Subscriptions {
    // [MQTT-3.10.4-1] [MQTT-4.7.3-4] Filters are compared byte by byte.
    fn position(&self, filter: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_bytes().cmp(filter))
    }

    pub(crate) fn get(&self, filter: &[u8]) -> Option<&Subscription> {
        let index = self.position(filter).ok()?;
        self.0.get(index).map(|(_, subscription)| subscription)
    }

    pub(crate) fn get_mut(&mut self, filter: &[u8]) -> Option<&mut Subscription> {
        let index = self.position(filter).ok()?;
        self.0.get_mut(index).map(|(_, subscription)| subscription)
    }

    /// Adds a subscription, or replaces the one with the same filter.
    // [MQTT-3.8.4-3] [MQTT-3.8.4-3 @3.1.1]
    pub(crate) fn insert(&mut self, filter: &SubscriptionFilter, subscription: Subscription) {
        // A vector begins with room for four, and most sessions have one subscription.
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        match self.position(filter.as_bytes()) {
            Err(index) => self.0.insert(index, (unshared(filter), subscription)),
            Ok(index) => {
                if let Some(entry) = self.0.get_mut(index) {
                    entry.1 = subscription;
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, filter: &[u8]) -> Option<Subscription> {
        let index = self.position(filter).ok()?;
        Some(self.0.remove(index).1)
    }

    pub(crate) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (&SubscriptionFilter, &Subscription)> {
        self.0.iter().map(|(filter, subscription)| (filter, subscription))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The filter in an allocation of its own. One that has been shared has a second one, for the count of those who share it.
fn unshared(filter: &SubscriptionFilter) -> SubscriptionFilter {
    SubscriptionFilter::parse(filter.as_bytes(), TextRules::PERMISSIVE)
        .unwrap_or_else(|_| filter.clone())
}

impl FromIterator<(SubscriptionFilter, Subscription)> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = (SubscriptionFilter, Subscription)>>(
        subscriptions: I,
    ) -> Self {
        let mut entries: Vec<_> = subscriptions.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        entries.dedup_by(|(one, _), (other, _)| one.as_bytes() == other.as_bytes());
        Self(entries)
    }
}
