//! Packets to decode and to encode.

use bytes::Bytes;
use dunlin_codec::{
    Connect, ConnectProperties, Packet, PacketId, Publish, PublishProperties, Qos, Subscribe,
    SubscribeFilters, SubscriptionOptions, Text, UserProperties, Version, Will, WillProperties,
};

/// Bytes of payload, from a single measured value to a picture.
pub const PAYLOADS: [usize; 4] = [16, 256, 4096, 65_536];

const TOPIC: &str = "site/03/line/7/temperature";
const USER_PROPERTIES: [(&str, &str); 5] = [
    ("trace-id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ("tenant", "north"),
    ("unit", "celsius"),
    ("sensor", "pt100"),
    ("schema", "reading/2"),
];
/// Filters in a SUBSCRIBE.
const FILTERS: usize = 10;

/// One packet as it travels.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is called in the results.
    pub name: String,
    /// The version it is written in.
    pub version: Version,
    /// The whole packet.
    pub frame: Bytes,
    /// Every text and all binary data in it, in the order of the wire: what each library must find.
    pub fields: Vec<Vec<u8>>,
    /// Whether it holds a list, of filters or of user properties.
    pub has_list: bool,
}

/// All packets, in the order of the results.
#[must_use]
pub fn all() -> Vec<Sample> {
    let layouts = [(Version::V3_1_1, 0), (Version::V5, 0), (Version::V5, 5)];
    let publishes = layouts.into_iter().flat_map(|(version, properties)| {
        [Qos::AtMostOnce, Qos::AtLeastOnce].into_iter().flat_map(move |qos| {
            PAYLOADS.map(|payload_len| publish(version, properties, qos, payload_len))
        })
    });
    let others =
        [Version::V3_1_1, Version::V5].map(|version| [connect(version), subscribe(version)]);
    publishes.chain(others.into_iter().flatten()).collect()
}

fn publish(version: Version, properties: usize, qos: Qos, payload_len: usize) -> Sample {
    let pairs = USER_PROPERTIES.into_iter().take(properties);
    let payload = vec![b'x'; payload_len];
    let publish = Publish {
        dup: false,
        retain: false,
        qos,
        packet_id: PacketId::new(7).filter(|_| qos > Qos::AtMostOnce),
        topic: text(TOPIC),
        properties: PublishProperties {
            user_properties: UserProperties::from_pairs(pairs.clone()).expect("short texts"),
            ..PublishProperties::default()
        },
        payload: payload.clone().into(),
    };
    let layout = match properties {
        0 => String::new(),
        count => format!(" {count} user properties"),
    };
    let texts = [TOPIC].into_iter().chain(pairs.flat_map(|(name, value)| [name, value]));
    Sample {
        name: format!("PUBLISH {}{layout} QoS {} {payload_len} B", number(version), qos as u8),
        version,
        frame: frame(&Packet::Publish(publish), version),
        fields: texts.map(|text| text.as_bytes().to_vec()).chain([payload]).collect(),
        has_list: properties > 0,
    }
}

fn connect(version: Version) -> Sample {
    let (client_id, user_name) = ("line-7-gateway", "gateway");
    let (will_topic, will_payload) = ("site/03/line/7/status", &b"offline"[..]);
    let password = &b"correct horse battery staple"[..];
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: text(client_id),
        will: Some(Will {
            topic: text(will_topic),
            payload: will_payload.into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            delay_interval: 0,
            properties: WillProperties::default(),
        }),
        user_name: Some(text(user_name)),
        password: Some(password.into()),
        properties: ConnectProperties::default(),
    };
    let fields =
        [client_id.as_bytes(), will_topic.as_bytes(), will_payload, user_name.as_bytes(), password];
    Sample {
        name: format!("CONNECT {}", number(version)),
        version,
        frame: frame(&Packet::Connect(connect), version),
        fields: fields.map(<[u8]>::to_vec).to_vec(),
        has_list: false,
    }
}

fn subscribe(version: Version) -> Sample {
    let filters: Vec<_> =
        (0..FILTERS).map(|line| format!("site/03/line/{line}/+/temperature")).collect();
    let options = SubscriptionOptions::with_qos(Qos::AtLeastOnce);
    let pairs = filters.iter().map(|filter| (filter.as_str(), options));
    let subscribe = Subscribe {
        packet_id: PacketId::new(9).expect("not zero"),
        subscription_id: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::from_pairs(pairs).expect("some short filters"),
    };
    Sample {
        name: format!("SUBSCRIBE {} {FILTERS} filters", number(version)),
        version,
        frame: frame(&Packet::Subscribe(subscribe), version),
        fields: filters.into_iter().map(String::into_bytes).collect(),
        has_list: true,
    }
}

fn frame(packet: &Packet<Bytes>, version: Version) -> Bytes {
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("the packets of this table are valid");
    frame.into()
}

fn text(text: &str) -> Text {
    Text::copy_from(text).expect("the texts of this table are valid")
}

const fn number(version: Version) -> &'static str {
    match version {
        Version::V3_1 => "3.1",
        Version::V3_1_1 => "3.1.1",
        Version::V5 => "5.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_codec::{DecodeLimits, decode};

    #[test]
    fn names_are_unique_and_packets_decode() {
        let samples = all();
        assert_eq!(samples.len(), 3 * 2 * 4 + 2 * 2);
        for (number, sample) in samples.iter().enumerate() {
            assert!(samples.iter().skip(number + 1).all(|other| other.name != sample.name));
            let decoded = decode(&sample.frame, sample.version, &DecodeLimits::default());
            let (_, len) = decoded.expect(&sample.name).expect(&sample.name);
            assert_eq!(len, sample.frame.len(), "{}", sample.name);
        }
    }
}
