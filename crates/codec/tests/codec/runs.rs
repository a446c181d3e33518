//! Runs beside a plain decoder that looks at every packet.

use dunlin_codec::{
    DecodeLimits, Packet, PacketId, PublishRef, Qos, Run, RunFrame, Version, decode, frames_of_run,
    publish_run, renumber_run, transcode_run, whole_frame_len,
};
use proptest::prelude::*;

use crate::{
    support::{V3, V5, encode, packet},
    values::publishes,
};

/// The run that a decoder of single packets finds.
fn plain_run<'a>(
    input: &'a [u8],
    qos: Qos,
    version: Version,
    limits: &DecodeLimits,
    max_bytes: usize,
) -> Run<'a> {
    let mut run = Run::default();
    while let Ok(Some((Packet::Publish(publish), len))) =
        decode(&input[run.bytes..], version, limits)
    {
        if run.frames == 0 {
            run.topic = publish.topic.as_bytes();
        }
        if !fits(&publish, qos, run.topic) || run.bytes + len > max_bytes {
            break;
        }
        run.bytes += len;
        run.frames += 1;
        run.largest = run.largest.max(len);
        run.payload += publish.payload.len();
    }
    if run.frames == 0 { Run::default() } else { run }
}

fn fits(publish: &PublishRef<'_>, qos: Qos, topic: &[u8]) -> bool {
    publish.qos == qos
        && !publish.dup
        && !publish.retain
        && !publish.topic.is_empty()
        && publish.topic.as_bytes() == topic
        && (publish.properties.is_empty() || qos == Qos::AtMostOnce && passes(publish))
}

fn passes(publish: &PublishRef<'_>) -> bool {
    let properties = &publish.properties;
    properties.topic_alias.is_none()
        && properties.message_expiry_interval.is_none()
        && properties.subscription_ids.is_empty()
}

/// A stream that is mostly runs, with other packets between and a torn end.
fn streams(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let topics = prop::sample::select(&["a", "b", "a/b/c/d/e/f/g/h"][..]);
    let ids = prop::sample::select(&["", "0001", "ffff"][..]);
    // None; payload format and a user property; the same with another value; a Message Expiry Interval; an empty user
    // property; the payload format twice.
    let properties = prop::sample::select(
        &[
            "00",
            "09 0101 26 $'k' $'v'",
            "09 0101 26 $'k' $'w'",
            "05 0200000001",
            "05 2600000000",
            "04 01010101",
        ][..],
    );
    let plain = (topics, 0..300_usize, ids, properties).prop_map(move |(topic, len, id, set)| {
        let zero = if version.is_v5() { set } else { "" };
        let first = match (id.is_empty(), len % 2) {
            (true, _) => "30",
            (false, 0) => "32",
            (false, _) => "34",
        };
        packet(&format!("{first} # $'{topic}' {id} {zero} '{}'", "x".repeat(len)))
    });
    let other =
        publishes(version).prop_map(move |publish| encode(&Packet::Publish(publish), version));
    let repeated = (plain, 1..6_usize).prop_map(|(frame, times)| frame.repeat(times));
    let frames = prop::collection::vec(prop_oneof![12 => repeated, 1 => other], 1..8);
    (frames, any::<prop::sample::Index>()).prop_map(|(frames, cut)| {
        let mut bytes = frames.concat();
        bytes.truncate(bytes.len() - cut.index(bytes.len().min(30)));
        bytes
    })
}

proptest! {
    #[test]
    fn runs_are_what_a_plain_decoder_finds(
        (version, bytes) in prop::sample::select(&Version::ALL[..])
            .prop_flat_map(|version| (Just(version), streams(version))),
        max_bytes in 0..2_000_usize,
        packet_size_max in 20..400_u32,
    ) {
        let limits = DecodeLimits { packet_size_max, ..DecodeLimits::default() };
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for max_bytes in [max_bytes, usize::MAX] {
                let run = publish_run(&bytes, qos, version, &limits, max_bytes);
                prop_assert_eq!(run, plain_run(&bytes, qos, version, &limits, max_bytes));
            }
        }
    }
}

#[test]
fn what_ends_a_run() {
    let found = |version, notation: &str| {
        let bytes = packet(notation);
        let limits = DecodeLimits::default();
        let qos = match bytes.first() {
            Some(0x34) => Qos::ExactlyOnce,
            Some(0x32) => Qos::AtLeastOnce,
            _ => Qos::AtMostOnce,
        };
        let run = publish_run(&bytes, qos, version, &limits, usize::MAX);
        (run.frames, run.bytes)
    };
    for &version in V5 {
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 06 $'t' 00 'cd'"), (2, 16));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 05 $'t' 00 'c'"), (2, 15));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 06 $'u' 00 'cd'"), (1, 8));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 31 06 $'t' 00 'cd'"), (1, 8));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 06 $'t' 02 0100"), (2, 16));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 06 $'t' 03 0100"), (1, 8));
        assert_eq!(found(version, "30 06 $'t' 00 'ab' 30 06 $'t' 00 'c'"), (1, 8));
        assert_eq!(found(version, "30 06 $'t' 02 0100"), (1, 8));
        assert_eq!(found(version, "30 06 $'t' 02 0102"), (0, 0), "no format has this number");
        assert_eq!(found(version, "30 09 $'t' 05 0200000001"), (0, 0), "it counts down");
        assert_eq!(found(version, "30 07 $'t' 03 230001"), (0, 0), "an alias is this hop's own");
        assert_eq!(found(version, "30 06 $'t' 02 0b01"), (0, 0), "a client sends none");
        assert_eq!(found(version, "32 08 $'t' 0001 02 0100"), (0, 0));
        assert_eq!(found(version, "30 03 $'t'"), (0, 0));
        assert_eq!(found(version, "30 03 $'' 00"), (0, 0));
        assert_eq!(found(version, "32 07 $'t' 0001 00 'a' 32 07 $'t' 0009 00 'b'"), (2, 18));
        // [MQTT-2.2.1-3] No identifier is 0, in the same form or another.
        assert_eq!(found(version, "32 07 $'t' 0001 00 'a' 32 07 $'t' 0000 00 'b'"), (1, 9));
        assert_eq!(found(version, "32 07 $'t' 0001 00 'a' 32 06 $'t' 0000 00"), (1, 9));
        assert_eq!(found(version, "32 07 $'t' 0001 00 'a' 3a 07 $'t' 0002 00 'b'"), (1, 9));
        assert_eq!(found(version, "32 07 $'t' 0001 00 'a' 30 05 $'t' 00 'b'"), (1, 9));
        assert_eq!(found(version, "32 05 $'t' 0001"), (0, 0));
        assert_eq!(found(version, "34 07 $'t' 0001 00 'a' 34 07 $'t' 0002 00 'b'"), (2, 18));
        assert_eq!(found(version, "34 07 $'t' 0001 00 'a' 32 07 $'t' 0002 00 'b'"), (1, 9));
    }
    for &version in V3 {
        assert_eq!(found(version, "30 05 $'t' 'ab' 30 05 $'t' 'cd' c0 00"), (2, 14));
        assert_eq!(found(version, "30 03 $'t' 30 03 $'t'"), (2, 10));
        assert_eq!(found(version, "30 02 0001 't'"), (0, 0));
        assert_eq!(found(version, "32 05 $'t' 0001 32 06 $'t' 0002 'b'"), (2, 15));
        assert_eq!(found(version, "32 04 $'t' 01"), (0, 0));
        assert_eq!(found(version, ""), (0, 0));
    }
}

proptest! {
    /// A run leaves in the other layout, and at a lower QoS, as if each of its messages had been encoded again.
    // [MQTT-3.8.4-8] [MQTT-2.2.1-2] [MQTT-3.8.4-6 @3.1.1] [MQTT-2.3.1-5 @3.1.1]
    #[test]
    fn runs_change_their_layout(
        (from, bytes) in prop::sample::select(&Version::ALL[..])
            .prop_flat_map(|version| (Just(version), streams(version))),
        to in prop::sample::select(&Version::ALL[..]),
        qos in prop::sample::select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..]),
        granted in prop::sample::select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..]),
    ) {
        let run = publish_run(&bytes, qos, from, &DecodeLimits::default(), usize::MAX);
        let run = &bytes[..run.bytes];
        let (mut transcoded, mut expected, mut rest) = (Vec::new(), Vec::new(), run);
        transcode_run(run, from, to, granted, &mut transcoded);
        while let Ok(Some((packet, len))) = decode(rest, from, &DecodeLimits::default()) {
            prop_assert_eq!(whole_frame_len(rest), Some(len));
            prop_assert_eq!(whole_frame_len(&rest[..len - 1]), None);
            let Packet::Publish(mut publish) = packet else { panic!("{packet:?} in a run") };
            publish.qos = publish.qos.min(granted);
            publish.packet_id = publish.packet_id.filter(|_| publish.qos > Qos::AtMostOnce);
            prop_assert_eq!(Packet::Publish(publish).encode(to, &mut expected), Ok(()));
            rest = &rest[len..];
        }
        prop_assert_eq!(transcoded, expected);
    }

    /// The frames of a run are what a plain decoder sees of it, also after they got other Packet Identifiers.
    #[test]
    fn runs_are_renumbered(
        (version, bytes) in prop::sample::select(&Version::ALL[..])
            .prop_flat_map(|version| (Just(version), streams(version))),
        qos in prop::sample::select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..]),
        ids in prop::collection::vec(1..=u16::MAX, 0..12),
    ) {
        let ids: Vec<PacketId> = ids.into_iter().filter_map(PacketId::new).collect();
        let run = publish_run(&bytes, qos, version, &DecodeLimits::default(), usize::MAX);
        let mut run = bytes[..run.bytes].to_vec();
        let frames = |run: &[u8]| -> Vec<(Option<PacketId>, Vec<u8>)> {
            frames_of_run(run, version)
                .map(|frame| (frame.packet_id, frame.payload().to_vec()))
                .collect()
        };
        let mut expected = Vec::new();
        let mut rest = &run[..];
        while let Ok(Some((Packet::Publish(publish), len))) =
            decode(rest, version, &DecodeLimits::default())
        {
            expected.push((publish.packet_id, publish.payload.to_vec()));
            rest = &rest[len..];
        }
        prop_assert_eq!(&frames(&run), &expected);
        let joined: Vec<u8> = frames_of_run(&run, version)
            .flat_map(|RunFrame { bytes, .. }| bytes.to_vec())
            .collect();
        prop_assert_eq!(&joined, &run);
        renumber_run(&mut run, ids.iter().copied());
        for (place, id) in expected.iter_mut().zip(ids) {
            place.0 = place.0.map(|_| id);
        }
        prop_assert_eq!(&frames(&run), &expected);
    }
}
