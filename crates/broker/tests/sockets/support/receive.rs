//! Receiving, without an opinion on what comes.

use std::{panic::Location, time::Duration};

use bytes::Bytes;
use dunlin_codec::{FrameLen, Qos};
use tokio::io::AsyncReadExt;

use super::*;

/// Packets, as they come.
impl<R: Reading, W: Writing> Client<R, W> {
    #[track_caller]
    pub fn receive(&mut self) -> impl Future<Output = Packet> {
        let place = Location::caller();
        async move { self.receive_at(place, "a packet").await }
    }

    pub(super) async fn receive_at(&mut self, place: Place, what: &str) -> Packet {
        let next = within_at(place, PATIENCE, what.to_owned(), self.next(place)).await;
        next.unwrap_or_else(|| panic!("{place}: the server closed instead of sending {what}"))
    }

    /// The next packet, or `None` when the server has closed.
    #[track_caller]
    pub fn next_packet(&mut self) -> impl Future<Output = Option<Packet>> {
        let place = Location::caller();
        async move {
            within_at(place, PATIENCE, "a packet or the end".to_owned(), self.next(place)).await
        }
    }

    /// The next packet, or `None` when none came for `quiet`.
    #[track_caller]
    pub fn receive_within(&mut self, quiet: Duration) -> impl Future<Output = Option<Packet>> {
        let place = Location::caller();
        async move {
            let next = tokio::time::timeout(quiet, self.next(place)).await.ok()?;
            Some(next.unwrap_or_else(|| panic!("{place}: the server closed")))
        }
    }

    #[track_caller]
    pub fn receive_some(&mut self, count: usize) -> impl Future<Output = Vec<Packet>> {
        let place = Location::caller();
        async move {
            let mut packets = Vec::new();
            for number in 1..=count {
                packets.push(self.receive_at(place, &format!("packet {number} of {count}")).await);
            }
            packets
        }
    }

    /// All packets until none has come for `quiet`, or the server has closed.
    #[track_caller]
    pub fn take_packets_for(&mut self, quiet: Duration) -> impl Future<Output = Vec<Packet>> {
        let place = Location::caller();
        async move {
            let mut packets = Vec::new();
            while let Ok(Some(packet)) = tokio::time::timeout(quiet, self.next(place)).await {
                packets.push(packet);
            }
            packets
        }
    }

    /// The payloads of all messages until none has come for `quiet`. Each is acknowledged.
    #[track_caller]
    pub fn take_messages_for(&mut self, quiet: Duration) -> impl Future<Output = Vec<String>> {
        let place = Location::caller();
        async move {
            let mut payloads = Vec::new();
            while let Ok(Some(packet)) = tokio::time::timeout(quiet, self.next(place)).await {
                self.take(place, packet, &mut payloads).await;
            }
            payloads
        }
    }

    /// The payloads of the next `count` messages. Each is acknowledged.
    #[track_caller]
    pub fn take_messages(&mut self, count: usize) -> impl Future<Output = Vec<String>> {
        let place = Location::caller();
        async move {
            let mut payloads = Vec::new();
            while payloads.len() < count {
                let what = format!("message {} of {count}", payloads.len() + 1);
                let packet = self.receive_at(place, &what).await;
                self.take(place, packet, &mut payloads).await;
            }
            payloads
        }
    }

    /// Waits until the server has read everything that was sent to it; messages that come meanwhile are passed over.
    #[track_caller]
    pub fn ping_among_messages(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            self.send(Packet::PingReq).await;
            while self.receive_at(place, "PINGRESP").await != Packet::PingResp {}
        }
    }

    /// Does what a client that wants every message does with a packet.
    async fn take(&mut self, place: Place, packet: Packet, payloads: &mut Vec<String>) {
        match packet {
            Packet::Publish(message) => {
                payloads.push(text(&message.payload));
                match message.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => self.send(puback(message.id_number())).await,
                    Qos::ExactlyOnce => self.send(pubrec(message.id_number())).await,
                }
            }
            Packet::PubRel(ack) => self.send(pubcomp(ack.packet_id.get())).await,
            other => panic!("{place}: {other:?} is no message"),
        }
    }

    /// What a resumed session brings, in `count` packets: the identifiers of PUBRELs, and the messages. The standard orders
    /// each of them, but not the ones among the others.
    #[track_caller]
    pub fn receive_resent(
        &mut self,
        count: usize,
    ) -> impl Future<Output = (Vec<u16>, Vec<Publish>)> {
        let place = Location::caller();
        async move {
            let (mut released, mut messages) = (Vec::new(), Vec::new());
            for number in 1..=count {
                match self.receive_at(place, &format!("packet {number} of {count} at resume")).await
                {
                    Packet::PubRel(ack) => released.push(ack.packet_id.get()),
                    Packet::Publish(message) => messages.push(message),
                    other => panic!("{place}: {other:?} is not part of a resumption"),
                }
            }
            (released, messages)
        }
    }

    /// The next packet, or `None` when the server has closed. Without a limit in time.
    #[track_caller]
    pub fn next_or_end(&mut self) -> impl Future<Output = Option<Packet>> {
        self.next(Location::caller())
    }

    /// Whether a CONNACK that accepts comes next, from a server that may be gone.
    pub async fn was_accepted(&mut self) -> bool {
        match self.next_packet().await {
            Some(Packet::ConnAck(connack)) if connack.reason_code == ReasonCode::Success => {
                self.connack = Some(connack);
                true
            }
            _ => false,
        }
    }

    /// The first packet that comes, whatever it is; `None` when the server closes.
    pub async fn answered(&mut self) {
        if let Some(Packet::ConnAck(connack)) = self.next_packet().await {
            self.connack = Some(connack);
        }
    }

    /// Whether the server still answers PINGREQ on this connection.
    pub async fn is_alive(&mut self) -> bool {
        if self.try_send(Packet::PingReq).await.is_err() {
            return false;
        }
        loop {
            match self.next_packet().await {
                Some(Packet::PingResp) => return true,
                None | Some(Packet::Disconnect(_)) => return false,
                Some(_) => {}
            }
        }
    }

    /// Reads on, whatever comes, until the server has closed.
    #[track_caller]
    pub fn ended(&mut self) -> impl Future<Output = ()> {
        let place = Location::caller();
        within_at(place, PATIENCE, "the end".to_owned(), async move {
            while self.next(place).await.is_some() {}
        })
    }

    pub async fn discard_until_closed(&mut self) {
        loop {
            self.input.clear();
            if self.fill().await == 0 {
                return;
            }
        }
    }

    /// Takes at most `count` bytes, if there are any, without decoding more than the lengths.
    pub async fn discard_some(&mut self, count: usize) -> usize {
        let mut scratch = vec![0; count.min(64 << 10)];
        let Ok(taken) =
            tokio::time::timeout(Duration::from_millis(50), self.reader.read(&mut scratch)).await
        else {
            return 0;
        };
        let taken = taken.expect("reading");
        self.input.extend_from_slice(&scratch[..taken]);
        self.count_frames();
        taken
    }

    /// Reads on until nothing has come for `quiet`, and tells how many PUBLISHes were discarded in all.
    pub async fn count_publishes_until_quiet(&mut self, quiet: Duration) -> usize {
        self.count_frames();
        while let Ok(count) = tokio::time::timeout(quiet, self.fill()).await {
            if count == 0 {
                break;
            }
            self.count_frames();
        }
        self.discarded_publishes
    }

    fn count_frames(&mut self) {
        while let Ok(FrameLen::Complete(length)) =
            dunlin_codec::frame_len(&self.input, &permissive())
        {
            let frame = self.input.split_to(length);
            self.discarded_publishes += usize::from(frame[0] >> 4 == 3);
        }
    }

    /// The sizes of all packets until the server closes.
    #[track_caller]
    pub fn receive_sizes_until_closed(&mut self) -> impl Future<Output = Vec<usize>> {
        let place = Location::caller();
        let all = async move {
            while self.fill().await > 0 {}
            let mut sizes = Vec::new();
            while let Ok(FrameLen::Complete(length)) =
                dunlin_codec::frame_len(&self.input, &permissive())
            {
                sizes.push(length);
                let _ = self.input.split_to(length);
            }
            sizes
        };
        within_at(place, PATIENCE, "the end".to_owned(), all)
    }

    /// The bytes of the next packet.
    #[track_caller]
    pub fn receive_bytes(&mut self) -> impl Future<Output = Bytes> {
        let place = Location::caller();
        let whole = async move {
            loop {
                if let Ok(FrameLen::Complete(length)) =
                    dunlin_codec::frame_len(&self.input, &permissive())
                {
                    return self.input.split_to(length).freeze();
                }
                assert!(self.fill().await > 0, "{place}: the server closed");
            }
        };
        within_at(place, PATIENCE, "a packet".to_owned(), whole)
    }

    /// The next PUBLISH, and apart from it the Subscription Identifiers that it carried.
    #[track_caller]
    pub fn receive_identified(&mut self) -> impl Future<Output = (Publish, Vec<u32>)> {
        let place = Location::caller();
        async move {
            let mut message = self.receive_message(place, "a PUBLISH").await;
            let ids = std::mem::take(&mut message.properties.subscription_ids);
            self.acknowledge_at(place, &message).await;
            (message, ids.iter().map(dunlin_codec::SubscriptionId::get).collect())
        }
    }

    /// The next message, acknowledged to the end of its exchange.
    #[track_caller]
    pub fn receive_and_acknowledge(&mut self) -> impl Future<Output = Publish> {
        let place = Location::caller();
        async move {
            let message = self.receive_message(place, "a PUBLISH").await;
            self.acknowledge_at(place, &message).await;
            message
        }
    }

    /// Topic and payload of the next PUBLISH, whose topic may be told by an alias.
    #[track_caller]
    pub fn aliased_publish(&mut self) -> impl Future<Output = (String, String)> {
        let place = Location::caller();
        async move {
            let message = self.receive_message(place, "a PUBLISH").await;
            let mut topic = message.topic.as_str().to_owned();
            match message.properties.topic_alias.map(dunlin_codec::TopicAlias::get) {
                Some(alias) if topic.is_empty() => {
                    let known = self.aliases.get(&alias);
                    topic = known
                        .unwrap_or_else(|| panic!("{place}: alias {alias} is unknown"))
                        .clone();
                }
                Some(alias) => drop(self.aliases.insert(alias, topic.clone())),
                None => assert!(!topic.is_empty(), "{place}: {message:?} has no topic"),
            }
            self.acknowledge_at(place, &message).await;
            (topic, text(&message.payload))
        }
    }

    pub fn highest_alias(&self) -> u16 {
        self.aliases.keys().next_back().copied().unwrap_or(0)
    }

    pub fn alias_bytes(&self) -> usize {
        self.aliases.values().map(String::len).sum()
    }

    pub(super) async fn receive_message(&mut self, place: Place, what: &str) -> Publish {
        match self.receive_at(place, what).await {
            Packet::Publish(message) => message,
            other => panic!("{place}: {other:?} came instead of {what}"),
        }
    }
}
