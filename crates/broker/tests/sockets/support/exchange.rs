//! Whole exchanges, in which nothing else may come.

use std::panic::Location;

use dunlin_codec::{Qos, ReasonCode, SubscriptionOptions};

use super::*;

impl<R: Reading, W: Writing> Client<R, W> {
    #[track_caller]
    pub fn ping(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            self.send(Packet::PingReq).await;
            let received = self.receive_at(place, "PINGRESP").await;
            assert_same(place, &received, &Packet::PingResp);
        }
    }

    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> impl Future<Output = ()> {
        self.subscribe_at(Location::caller(), None, filter.to_owned(), options(qos))
    }

    #[track_caller]
    pub fn subscribe_as(
        &mut self,
        number: Option<u32>,
        filter: &str,
        options: SubscriptionOptions,
    ) -> impl Future<Output = ()> {
        self.subscribe_at(Location::caller(), number, filter.to_owned(), options)
    }

    pub(super) async fn subscribe_at(
        &mut self,
        place: Place,
        number: Option<u32>,
        filter: String,
        options: SubscriptionOptions,
    ) {
        let id = self.take_id();
        self.send(subscribe_with(id, number, &[(&filter, options)])).await;
        let received = self.receive_at(place, "SUBACK").await;
        assert_same(place, &received, &suback(id, &[granted(options.qos)]).into_packet());
    }

    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let id = self.take_id();
            self.send(unsubscribe(id, &[filter])).await;
            let received = self.receive_at(place, "UNSUBACK").await;
            let expected =
                in_version(unsuback(id, &[ReasonCode::Success]).into_packet(), self.version);
            assert_same(place, &received, &expected);
        }
    }

    /// Publishes and completes the exchange, which must not end in an error.
    #[track_caller]
    pub fn publish(&mut self, mut message: Publish) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            if message.qos == QOS0 {
                return self.send(message).await;
            }
            if message.packet_id.is_none() {
                let id = self.take_id();
                message = message.id(id);
            }
            let (qos, id) = (message.qos, message.id_number());
            self.send(message).await;
            let received = self.receive_at(place, "an acknowledgement").await;
            assert!(accepts(&received), "{place}: {received:?}");
            if qos == QOS2 {
                self.release_at(place, id).await;
            }
        }
    }

    /// Releases a QoS 2 message of our own.
    #[track_caller]
    pub fn release(&mut self, id: u16) -> impl Future<Output = ()> {
        self.release_at(Location::caller(), id)
    }

    pub(super) async fn release_at(&mut self, place: Place, id: u16) {
        self.send(pubrel(id)).await;
        let received = self.receive_at(place, "PUBCOMP").await;
        assert_same(place, &received, &pubcomp(id));
    }

    /// Acknowledges a message of the server's, to the end of the exchange.
    #[track_caller]
    pub fn acknowledge(&mut self, message: &Publish) -> impl Future<Output = ()> {
        self.acknowledge_at(Location::caller(), message)
    }

    pub(super) async fn acknowledge_at(&mut self, place: Place, message: &Publish) {
        match message.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.send(puback(message.id_number())).await,
            Qos::ExactlyOnce => self.complete_at(place, message.id_number()).await,
        }
    }

    /// Takes a QoS 2 message of the server's, to the end of the exchange.
    #[track_caller]
    pub fn complete(&mut self, id: u16) -> impl Future<Output = ()> {
        self.complete_at(Location::caller(), id)
    }

    pub(super) async fn complete_at(&mut self, place: Place, id: u16) {
        self.send(pubrec(id)).await;
        let received = self.receive_at(place, "PUBREL").await;
        assert_same(place, &received, &pubrel(id));
        self.send(pubcomp(id)).await;
    }

    /// DISCONNECT that ends the session too, whatever is still on its way.
    pub async fn end_session(mut self) {
        let mut packet = disconnect(ReasonCode::Success);
        packet.session_expiry_interval = Some(0);
        self.send(packet).await;
        self.ended().await;
    }
}
