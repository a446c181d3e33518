//! The last step of a message to the client: what exactly goes out, or why nothing does.

use std::time::{Duration, Instant};

use dunlin_codec::{Hop, PacketId, publish_len};

use crate::alias::OutboundAliases;
use crate::delivery::{Delivery, DropReason, Outgoing, SubscriptionIds};
use crate::peer::Peer;

/// What sending a PUBLISH depends on: the client, the time, and the aliases it changes.
pub(crate) struct Sender<'c> {
    pub(crate) peer: &'c Peer,
    pub(crate) aliases: Option<&'c mut OutboundAliases>,
    pub(crate) now: Instant,
}

impl Sender<'_> {
    /// The PUBLISH for this delivery, or why it cannot be sent.
    pub(crate) fn outgoing(
        &mut self,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
    ) -> Result<Outgoing, DropReason> {
        let message_expiry_interval = self.remaining_expiry(delivery, dup)?;
        let topic = &delivery.message.topic;
        let mut outgoing = Outgoing {
            message: delivery.message.clone(),
            qos: delivery.qos,
            packet_id,
            // [MQTT-3.3.1-1] [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
            // [MQTT-3.3.1-1 @3.1.1] [MQTT-3.3.1-2 @3.1.1] [MQTT-3.3.1-3 @3.1.1]
            dup,
            retain: delivery.retain,
            // Most have none, and an empty list is cheaper made than copied.
            subscription_ids: if delivery.subscription_ids.is_empty() {
                SubscriptionIds::new()
            } else {
                delivery.subscription_ids.clone()
            },
            topic_alias: self.aliases.as_mut().and_then(|aliases| aliases.find(topic)),
            message_expiry_interval,
        };
        if !self.fits(&outgoing) {
            // Setting an alias takes three bytes; perhaps it fits without.
            let sets_alias = matches!(outgoing.topic_alias, Some((_, false)));
            outgoing.topic_alias = outgoing.topic_alias.filter(|_| !sets_alias);
            if !sets_alias || !self.fits(&outgoing) {
                // [MQTT-3.1.2-25]
                return Err(DropReason::TooLarge);
            }
        }
        if let (Some((_, false)), Some(aliases)) = (outgoing.topic_alias, self.aliases.as_mut()) {
            aliases.set(topic);
        }
        Ok(outgoing)
    }

    /// Seconds left of the Message Expiry Interval: what was received less the whole seconds it waited.
    // [MQTT-3.3.2-6]
    fn remaining_expiry(&self, delivery: &Delivery, dup: bool) -> Result<Option<u32>, DropReason> {
        let Some(expires_at) = delivery.expires_at else { return Ok(None) };
        let left = expires_at.saturating_duration_since(self.now);
        // [MQTT-3.3.2-5] [MQTT-4.3.3-7] Once sending began, it is carried through.
        if left.is_zero() && !dup {
            return Err(DropReason::Expired);
        }
        let begun_second = u64::from(left > Duration::from_secs(left.as_secs()));
        let left = u32::try_from(left.as_secs() + begun_second).unwrap_or(u32::MAX);
        // Never more than was received: the publisher's clock may have been read a little later than this one.
        Ok(Some(
            delivery.message.message_expiry_interval().map_or(left, |received| left.min(received)),
        ))
    }

    // [MQTT-3.1.2-24]
    fn fits(&self, outgoing: &Outgoing) -> bool {
        if self.peer.packet_size_max == u32::MAX {
            return true;
        }
        let hop: Hop<'_> = outgoing.hop();
        self.peer.takes(publish_len(&outgoing.message, &hop, self.peer.version))
    }
}
