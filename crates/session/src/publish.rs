//! What a PUBLISH must be like before its message is routed.

use dunlin_codec::{Publish, ReasonCode};

use crate::alias::AliasBounds;
use crate::error::Violation;
use crate::event::{Output, Outputs, Route, RouteTopic};
use crate::inbound::Received;
use crate::limits::{Capabilities, ReservedTopicPolicy};
use crate::open::Open;

/// Topics that only the server publishes to begin like this.
const RESERVED: &[u8] = b"$SYS/";

/// Whether clients may not publish there.
#[inline]
pub(crate) fn is_reserved(topic: &[u8]) -> bool {
    topic.starts_with(RESERVED)
}

/// Whether a topic has more levels than allowed.
#[inline]
pub(crate) fn is_too_deep(topic: &[u8], levels_max: u16) -> bool {
    let levels_max = usize::from(levels_max);
    // With fewer bytes there cannot be as many separators.
    topic.len() >= levels_max && topic.iter().filter(|byte| **byte == b'/').count() >= levels_max
}

impl Open {
    /// PUBLISH came in: gives what is to be routed, if it is.
    #[inline]
    pub(crate) fn publish<'a>(
        &mut self,
        publish: Publish<&'a [u8]>,
        capabilities: &Capabilities,
        out: &mut Outputs<'a>,
    ) -> Result<Option<Route<'a>>, Violation> {
        check(&publish, capabilities)?;
        let topic = self.topic_of(&publish, capabilities)?;
        let refused = self.refuse(topic.as_bytes(), capabilities)?;
        let qos = publish.qos;
        let Some(packet_id) = publish.packet_id else {
            return Ok(match refused {
                None => Some(Route { token: None, publish, topic }),
                Some(reason) => {
                    out.push(Output::PublishRefused { qos, reason });
                    None
                }
            });
        };
        let received = Received { qos, packet_id, dup: publish.dup, refused };
        let (inbound, mut rules) = self.inbound(capabilities);
        match inbound.publish(received, &mut rules)? {
            Some(token) => return Ok(Some(Route { token: Some(token), publish, topic })),
            None => {
                inbound.flush(rules.exchanges, |ack| out.push(Output::Ack(ack)));
                if let Some(reason) = refused {
                    out.push(Output::PublishRefused { qos, reason });
                }
            }
        }
        Ok(None)
    }

    /// The topic that the PUBLISH names, by itself or by its alias.
    #[inline]
    fn topic_of<'a>(
        &mut self,
        publish: &Publish<&'a [u8]>,
        capabilities: &Capabilities,
    ) -> Result<RouteTopic<'a>, Violation> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(RouteTopic::Wire(publish.topic));
        };
        let bounds = AliasBounds {
            alias_max: capabilities.topic_alias_maximum,
            bytes_max: capabilities.alias_bytes_max,
        };
        self.inbound_aliases.get_or_insert_default().resolve(alias, publish.topic, bounds)
    }

    /// Why the message is not routed, if it is not, although it is correct.
    #[inline]
    fn refuse(
        &self,
        topic: &[u8],
        capabilities: &Capabilities,
    ) -> Result<Option<ReasonCode>, Violation> {
        if is_reserved(topic) {
            // [MQTT-3.3.5-2 @3.1.1]
            let close = capabilities.reserved_topic_3x == ReservedTopicPolicy::Close;
            if !self.peer.is_v5() && close {
                return Err(Violation::TopicReserved);
            }
            return Ok(Some(ReasonCode::NotAuthorized));
        }
        let maximum = capabilities.topic_levels_max;
        if is_too_deep(topic, maximum) {
            if !self.peer.is_v5() {
                return Err(Violation::TopicTooDeep { maximum });
            }
            return Ok(Some(ReasonCode::TopicNameInvalid));
        }
        let maximum = capabilities.topic_bytes_max;
        if topic.len() > usize::from(maximum) {
            if !self.peer.is_v5() {
                return Err(Violation::TopicTooLong { maximum });
            }
            return Ok(Some(ReasonCode::TopicNameInvalid));
        }
        Ok(None)
    }
}

/// What ends the connection.
#[inline]
fn check(publish: &Publish<&[u8]>, capabilities: &Capabilities) -> Result<(), Violation> {
    // [MQTT-3.3.4-6]
    if !publish.properties.subscription_ids.is_empty() {
        return Err(Violation::SubscriptionIdInPublish);
    }
    // [MQTT-3.2.2-11]
    if publish.qos > capabilities.maximum_qos {
        return Err(Violation::QosNotSupported);
    }
    // [MQTT-3.2.2-14]
    if publish.retain && !capabilities.retain_available {
        return Err(Violation::RetainNotSupported);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted() {
        for (topic, levels_max, too_deep) in [
            ("a", 1, false),
            ("/", 1, true),
            ("/", 2, false),
            ("a/b/c", 2, true),
            ("a/b/c", 3, false),
            ("///", 3, true),
            ("///", 4, false),
        ] {
            assert_eq!(
                is_too_deep(topic.as_bytes(), levels_max),
                too_deep,
                "{topic} of {levels_max}"
            );
        }
    }

    #[test]
    fn only_what_is_below_sys_is_reserved() {
        assert!(is_reserved(b"$SYS/uptime"));
        assert!(is_reserved(b"$SYS/"));
        assert!(!is_reserved(b"$SYS"));
        assert!(!is_reserved(b"$SYSTEM/a"));
        assert!(!is_reserved(b"a/$SYS/b"));
    }
}
