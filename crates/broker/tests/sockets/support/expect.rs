//! Expecting: the next packet is this one, whole, or the test fails.

use std::{fmt::Debug, panic::Location, time::Duration};

use dunlin_codec::{Qos, ReasonCode, Version};

use super::*;

impl<R: Reading, W: Writing> Client<R, W> {
    #[track_caller]
    pub fn expect(&mut self, packet: impl IntoPacket) -> impl Future<Output = ()> {
        let place = Location::caller();
        let expected = in_version(packet.into_packet(), self.version);
        async move {
            let received = self.receive_at(place, &brief(&expected)).await;
            assert_same(place, &received, &expected);
        }
    }

    /// The next two packets are these, in any order.
    #[track_caller]
    pub fn expect_both(
        &mut self,
        one: impl IntoPacket,
        other: impl IntoPacket,
    ) -> impl Future<Output = ()> {
        let place = Location::caller();
        let one = in_version(one.into_packet(), self.version);
        let other = in_version(other.into_packet(), self.version);
        async move {
            let first = self.receive_at(place, &brief(&one)).await;
            let second = self.receive_at(place, &brief(&other)).await;
            let (first, second) = if first == one { (first, second) } else { (second, first) };
            assert_same(place, &first, &one);
            assert_same(place, &second, &other);
        }
    }

    /// The next packet is this message, under a packet identifier of the server's choice, which is returned.
    #[track_caller]
    pub fn expect_message(&mut self, message: Publish) -> impl Future<Output = u16> {
        let place = Location::caller();
        async move { self.expect_message_at(place, message).await.id_number() }
    }

    pub(super) async fn expect_message_at(
        &mut self,
        place: Place,
        mut message: Publish,
    ) -> Publish {
        message.packet_id = dunlin_codec::PacketId::new(1).filter(|_| message.qos != QOS0);
        let Packet::Publish(mut expected) = in_version(message.into_packet(), self.version) else {
            unreachable!("a PUBLISH")
        };
        let received = self.receive_message(place, &format!("{expected:?}")).await;
        expected.packet_id = expected.packet_id.and(received.packet_id);
        assert_same(place, &received, &expected);
        received
    }

    /// [`Client::expect_message`], and the whole exchange that follows.
    #[track_caller]
    pub fn expect_and_acknowledge(&mut self, message: Publish) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let received = self.expect_message_at(place, message).await;
            self.acknowledge_at(place, &received).await;
        }
    }

    /// The next two packets are these messages, in any order. Neither is acknowledged.
    #[track_caller]
    pub fn expect_both_messages(
        &mut self,
        one: Publish,
        other: Publish,
    ) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let mut received = Vec::new();
            for _ in 0..2 {
                let mut message = self.receive_message(place, "a message").await;
                message.packet_id = None;
                received.push(message);
            }
            if received.first() != Some(&one) {
                received.reverse();
            }
            assert_same(place, &received, &vec![one, other]);
        }
    }

    /// The next packet is this message but for its Message Expiry Interval, which is returned.
    #[track_caller]
    pub fn expect_expiring(&mut self, message: Publish) -> impl Future<Output = u32> {
        let place = Location::caller();
        async move {
            let mut received = self.receive_message(place, "a message that expires").await;
            let remaining = received.properties.message_expiry_interval.take();
            received.packet_id = None;
            assert_same(place, &received, &message);
            remaining.unwrap_or_else(|| {
                panic!("{place}: {received:?} came without Message Expiry Interval")
            })
        }
    }

    /// What the client published itself at QoS 1 comes back, and so does its PUBACK, in any order.
    #[track_caller]
    pub fn expect_own_message(
        &mut self,
        id: u16,
        topic: &str,
        payload: &str,
    ) -> impl Future<Output = ()> {
        let place = Location::caller();
        let expected = publish(topic, payload.to_owned()).qos(QOS1);
        async move {
            let mut acknowledged = false;
            let mut delivered = false;
            while !(acknowledged && delivered) {
                match self.receive_at(place, "a PUBACK and a message").await {
                    Packet::PubAck(ack) if !acknowledged => {
                        assert_same(place, &Packet::PubAck(ack), &puback(id));
                        acknowledged = true;
                    }
                    Packet::Publish(message) if !delivered => {
                        let own = message.id_number();
                        assert_same(place, &message, &expected.clone().id(own));
                        self.send(puback(own)).await;
                        delivered = true;
                    }
                    other => panic!("{place}: {other:?} came instead of a PUBACK and a message"),
                }
            }
        }
    }

    #[track_caller]
    pub fn expect_nothing(&mut self) -> impl Future<Output = ()> {
        self.expect_nothing_for(SILENCE)
    }

    #[track_caller]
    pub fn expect_nothing_for(&mut self, silence: Duration) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            if let Ok(next) = tokio::time::timeout(silence, self.next(place)).await {
                panic!("{place}: nothing was to come, but {next:?} did");
            }
        }
    }

    /// The next bytes are these.
    #[track_caller]
    pub fn expect_bytes(&mut self, expected: &[u8]) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let fill = self.fill_to(expected.len());
            within_at(place, PATIENCE, format!("{expected:02x?}"), fill).await;
            let received = self.input.split_to(expected.len().min(self.input.len()));
            assert_eq!(&received[..], expected, "{place}: {received:02x?}, not {expected:02x?}");
        }
    }

    #[track_caller]
    pub fn expect_closed(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move { self.expect_closed_at(place).await }
    }

    pub(super) async fn expect_closed_at(&mut self, place: Place) {
        let next =
            within_at(place, PATIENCE, "the server to close".to_owned(), self.next(place)).await;
        assert!(next.is_none(), "{place}: {next:?} came instead of the end");
    }

    /// The server ends the connection for `reason`: a 5.0 client gets DISCONNECT before.
    #[track_caller]
    pub fn expect_end(&mut self, reason: ReasonCode) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move { self.expect_end_at(place, &[reason]).await }
    }

    /// [`Client::expect_end`] where the standard leaves a choice.
    #[track_caller]
    pub fn expect_end_in(&mut self, reasons: &[ReasonCode]) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move { self.expect_end_at(place, reasons).await }
    }

    pub(super) async fn expect_end_at(&mut self, place: Place, reasons: &[ReasonCode]) {
        if self.version == Version::V5 {
            let received = self.receive_at(place, &format!("DISCONNECT {reasons:?}")).await;
            let Packet::Disconnect(mut received) = received else {
                panic!("{place}: {received:?} came instead of DISCONNECT {reasons:?}");
            };
            // Words for people: any will do.
            received.reason_string = None;
            let listed = reasons.iter().find(|&&reason| reason == received.reason_code);
            assert_same(place, &received, &disconnect(*listed.unwrap_or(&reasons[0])));
        }
        self.expect_closed_at(place).await;
    }

    /// CONNACK that accepts.
    #[track_caller]
    pub fn expect_connack(&mut self, session_present: bool) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            self.accepted_at(place).await;
            let present = session_present && self.version != Version::V3_1;
            assert_eq!(self.connack().session_present, present, "{place}: Session Present");
        }
    }

    pub(super) async fn accepted_at(&mut self, place: Place) {
        match self.receive_at(place, "CONNACK").await {
            Packet::ConnAck(connack) if connack.reason_code == ReasonCode::Success => {
                self.connack = Some(connack)
            }
            other => panic!("{place}: {other:?} came instead of a CONNACK that accepts"),
        }
    }

    /// CONNACK with `reason` and the end. Where 3.x has no return code for it, only the end.
    #[track_caller]
    pub fn expect_connack_refusal(&mut self, reason: ReasonCode) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            if self.version != Version::V5 && reason.connect_return_code().is_none() {
                return self.expect_closed_at(place).await;
            }
            let expected = in_version(
                Packet::ConnAck(dunlin_codec::ConnAck::new(false, reason)),
                self.version,
            );
            let mut received = self.receive_at(place, &brief(&expected)).await;
            if let Packet::ConnAck(connack) = &mut received {
                // Words for people: any will do.
                connack.properties.reason_string = None;
            }
            assert_same(place, &received, &expected);
            self.expect_closed_at(place).await;
        }
    }

    /// The server does not let the client in, and may say so.
    #[track_caller]
    pub fn expect_refusal_or_end(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let next = self.next(place);
            match within_at(place, PATIENCE, "a refusal".to_owned(), next).await {
                None => {}
                Some(Packet::ConnAck(connack)) if connack.reason_code.is_error() => {
                    self.expect_closed_at(place).await
                }
                Some(other) => panic!("{place}: {other:?} came instead of a refusal"),
            }
        }
    }

    /// PUBACK with `reason`; 3.x has none, so it may also be closed.
    #[track_caller]
    pub fn expect_refused_publish(
        &mut self,
        id: u16,
        reason: ReasonCode,
    ) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let expected = in_version(puback(id).code(reason), self.version);
            let next = self.next(place);
            match within_at(place, PATIENCE, brief(&expected), next).await {
                None => {
                    assert_ne!(self.version, Version::V5, "{place}: closed instead of {expected:?}")
                }
                Some(received) => assert_same(place, &received, &expected),
            }
        }
    }

    /// PUBACK or PUBREC, as `qos` has it, without an error.
    #[track_caller]
    pub fn expect_acceptance(&mut self, qos: Qos, id: u16) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let received = self.receive_at(place, "an acknowledgement").await;
            assert!(accepts(&received), "{place}: {received:?}");
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = &received else {
                unreachable!("one of them")
            };
            assert_eq!(ack.packet_id.get(), id, "{place}");
            assert_eq!(matches!(received, Packet::PubRec(_)), qos == QOS2, "{place}: {received:?}");
        }
    }
}

/// Fails unless both are the same, and shows both.
pub fn assert_same<T: Debug + PartialEq>(place: Place, received: &T, expected: &T) {
    assert!(received == expected, "{place}:\n received {received:?}\n expected {expected:?}");
}

/// A packet in the words of a failure.
pub fn brief(packet: &Packet) -> String {
    match packet {
        Packet::Publish(message) if message.payload.len() > 100 => {
            format!("a PUBLISH of {} bytes to {:?}", message.payload.len(), message.topic)
        }
        packet => format!("{packet:?}"),
    }
}
