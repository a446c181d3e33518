//! The client of our own: the broker's codec over one stream of quinn.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dunlin_codec::{
    Ack, Connect, ConnectProperties, DecodeLimits, Decoder, Disconnect, Packet, PacketId, Publish,
    PublishProperties, Qos, ReasonCode, Subscribe, SubscribeFilters, SubscriptionOptions, Text,
    UserProperties, Version,
};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;

use crate::{Message, Outcome, Target};

struct Client {
    version: Version,
    send: SendStream,
    receive: RecvStream,
    decoder: Decoder,
    input: BytesMut,
    came_back: Vec<Message>,
}

pub(crate) async fn round_trip(
    target: &Target,
    alpn: &str,
    messages: &[Message],
) -> Outcome<Vec<Message>> {
    let (endpoint, connection) = connection(target, alpn).await?;
    let (send, receive) = connection.open_bi().await?;
    let version = if target.level == 5 { Version::V5 } else { Version::V3_1_1 };
    let decoder = Decoder::client(version, DecodeLimits::default());
    let mut client =
        Client { version, send, receive, decoder, input: BytesMut::new(), came_back: Vec::new() };
    client.connect().await?;
    client.subscribe("doors/#").await?;
    for (id, message) in (2..).zip(messages) {
        client.publish(id, message).await?;
    }
    client.write(Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await?;
    client.send.finish()?;
    // It is the broker that closes, in peace.
    let end = connection.closed().await;
    if !matches!(&end, ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0)
    {
        return Err(format!("instead of a close: {end}").into());
    }
    endpoint.wait_idle().await;
    Ok(client.came_back)
}

/// By TLS 1.3 with this protocol, to a server that the authority vouches for.
async fn connection(target: &Target, alpn: &str) -> Outcome<(Endpoint, Connection)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&target.authority)? {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match &target.own {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?));
    let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
    let name = target.address.ip().to_string();
    let connection = endpoint.connect_with(config, target.address, &name)?.await?;
    Ok((endpoint, connection))
}

impl Client {
    async fn write(&mut self, packet: Packet<Bytes>) -> Outcome<()> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes)?;
        Ok(self.send.write_all(&bytes).await?)
    }

    async fn read(&mut self) -> Outcome<Packet<Bytes>> {
        loop {
            if let Some(packet) = self.decoder.next_packet(&mut self.input)? {
                return Ok(packet);
            }
            if self.receive.read_buf(&mut self.input).await? == 0 {
                return Err("the broker closed".into());
            }
        }
    }

    async fn connect(&mut self) -> Outcome<()> {
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive: 60,
            client_id: Text::try_from("own")?,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        self.write(Packet::Connect(connect)).await?;
        match self.read().await? {
            Packet::ConnAck(connack) if connack.reason_code == ReasonCode::Success => Ok(()),
            other => Err(format!("instead of CONNACK: {other:?}").into()),
        }
    }

    async fn subscribe(&mut self, filter: &str) -> Outcome<()> {
        let options = SubscriptionOptions::with_qos(Qos::ExactlyOnce);
        let subscribe = Subscribe {
            packet_id: packet_id(1)?,
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::from_pairs([(filter, options)])?,
        };
        self.write(Packet::Subscribe(subscribe)).await?;
        match self.read().await? {
            Packet::SubAck(suback) if suback.reason_codes.iter().eq([ReasonCode::GrantedQos2]) => {
                Ok(())
            }
            other => Err(format!("instead of SUBACK: {other:?}").into()),
        }
    }

    /// Publishes, and stays until the message has come back and both exchanges are over.
    async fn publish(&mut self, id: u16, message: &Message) -> Outcome<()> {
        let qos = Qos::try_from(message.qos).map_err(|_| "no such QoS")?;
        let publish = Publish {
            dup: false,
            retain: false,
            qos,
            packet_id: if qos == Qos::AtMostOnce { None } else { Some(packet_id(id)?) },
            topic: Text::try_from(message.topic.as_str())?,
            properties: PublishProperties::default(),
            payload: message.payload.clone().into(),
        };
        self.write(Packet::Publish(publish)).await?;
        let (mut sent, mut received) = (qos == Qos::AtMostOnce, false);
        while !sent || !received {
            match self.read().await? {
                Packet::PubAck(_) | Packet::PubComp(_) => sent = true,
                Packet::PubRec(ack) => self.write(Packet::PubRel(done(ack.packet_id))).await?,
                Packet::PubRel(ack) => {
                    self.write(Packet::PubComp(done(ack.packet_id))).await?;
                    received = true;
                }
                Packet::Publish(publish) => received = self.arrived(publish).await?,
                other => return Err(format!("nobody asked for {other:?}").into()),
            }
        }
        Ok(())
    }

    /// Takes a message; whether that was all of its exchange.
    async fn arrived(&mut self, publish: Publish<Bytes>) -> Outcome<bool> {
        let answer = publish.packet_id.map(done);
        self.came_back.push(Message {
            topic: publish.topic.as_str().to_owned(),
            qos: publish.qos as u8,
            payload: publish.payload.to_vec(),
        });
        match (publish.qos, answer) {
            (Qos::AtLeastOnce, Some(ack)) => self.write(Packet::PubAck(ack)).await?,
            (Qos::ExactlyOnce, Some(ack)) => self.write(Packet::PubRec(ack)).await?,
            _ => {}
        }
        Ok(publish.qos != Qos::ExactlyOnce)
    }
}

fn packet_id(id: u16) -> Outcome<PacketId> {
    Ok(PacketId::new(id).ok_or("no Packet Identifier")?)
}

fn done(packet_id: PacketId) -> Ack<Bytes> {
    Ack::new(packet_id, ReasonCode::Success)
}
