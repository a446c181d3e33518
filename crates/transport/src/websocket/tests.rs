//! Frames as clients send them, and as they must not; the same cut anywhere.

#![expect(clippy::cast_possible_truncation, reason = "the sizes of a test are small")]

use proptest::prelude::*;

use super::*;

/// The rules of [`Framer`] said once more, plainly and over the whole stream.
mod oracle;

const MASK: [u8; 4] = [0xA1, 0x02, 0xF3, 0x44];

/// A frame of a client: the first byte as it stands, a masked payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

/// What came of a stream: its plain bytes, what we said of ourselves, how it ended.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    plain: Vec<u8>,
    answers: Vec<u8>,
    end: Option<End>,
}

/// Takes pieces, and writes what waits after each.
fn take<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let (mut framer, mut outcome) = (Framer::default(), Outcome::default());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let received = framer.receive(&mut bytes);
        outcome.plain.extend(&bytes[..received.plain]);
        outcome.end = received.end;
        while let Some(Outgoing::Control(bytes)) = framer.outgoing(0) {
            outcome.answers.extend(bytes);
            let len = bytes.len();
            assert_eq!(framer.wrote(len), 0);
        }
    }
    outcome
}

/// The outcome, whole and byte by byte. With one ping at most it is the same.
#[track_caller]
fn check(stream: &[Vec<u8>], plain: &[u8], answers: &[u8], end: Option<End>) {
    let stream = stream.concat();
    let expected = Outcome { plain: plain.to_vec(), answers: answers.to_vec(), end };
    assert_eq!(take([&stream[..]]), expected);
    assert_eq!(take(stream.chunks(1)), expected);
    assert_eq!(take(stream.chunks(3)), expected);
}

// [MQTT-6.0.0-2] [MQTT-6.0.0-2 @3.1.1]
#[test]
fn what_binary_frames_hold_is_one_stream() {
    check(&[binary(b"ab"), binary(b"c")], b"abc", b"", None);
    check(&[binary(b"")], b"", b"", None);
    check(
        &[frame(0x02, b"ab"), frame(0x00, b"c"), frame(0x80, b"d"), binary(b"e")],
        b"abcde",
        b"",
        None,
    );
    check(&[frame(0x02, b""), frame(0x00, b""), frame(0x80, b"")], b"", b"", None);
    for len in [125, 126, 127, 0xFFFF, 0x1_0000, 0x1_0003] {
        let payload: Vec<u8> = (0..len).map(|index: u32| (index % 251) as u8).collect();
        check(&[binary(&payload), binary(b"z")], &[&payload[..], b"z"].concat(), b"", None);
    }
    // A length in more bytes than it needs.
    check(&[b"\x82\xFE\0\x01\0\0\0\0a".to_vec()], b"a", b"", None);
    check(&[b"\x82\xFF\0\0\0\0\0\0\0\x01\0\0\0\0a".to_vec()], b"a", b"", None);
}

#[test]
fn pings_are_answered_also_within_a_message() {
    check(&[frame(0x89, b"")], b"", b"\x8A\0", None);
    check(&[frame(0x89, b"hello")], b"", b"\x8A\x05hello", None);
    let longest = [b'x'; CONTROL_BYTES_MAX];
    check(&[frame(0x89, &longest)], b"", &[&[0x8A, 125], &longest[..]].concat(), None);
    check(&[frame(0x8A, b"unasked"), frame(0x8A, b""), binary(b"a")], b"a", b"", None);
    let stream = [frame(0x02, b"a"), frame(0x89, b"?"), frame(0x8A, b"."), frame(0x80, b"b")];
    check(&stream, b"ab", b"\x8A\x01?", None);
}

#[test]
fn of_pings_that_come_faster_than_pongs_leave_the_latest_is_answered() {
    let stream: Vec<u8> =
        (0..1000).flat_map(|_| frame(0x89, b"old")).chain(frame(0x89, b"new")).collect();
    assert_eq!(take([&stream[..]]).answers, b"\x8A\x03new");

    // One that has begun to be written is finished first.
    let mut framer = Framer::default();
    framer.receive(&mut frame(0x89, b"one"));
    assert_eq!(framer.outgoing(0), Some(Outgoing::Control(b"\x8A\x03one")));
    assert_eq!(framer.wrote(2), 0);
    framer.receive(&mut [frame(0x89, b"two"), frame(0x89, b"three")].concat());
    assert_eq!(framer.outgoing(9), Some(Outgoing::Control(b"one")));
    assert_eq!(framer.wrote(3), 0);
    assert_eq!(framer.outgoing(9), Some(Outgoing::Control(b"\x8A\x05three")));
    assert_eq!(framer.wrote(7), 0);
    assert_eq!(framer.outgoing(0), None);
}

#[test]
fn a_close_frame_is_answered_with_its_code_and_ends_all() {
    let behind = binary(b"behind");
    check(
        &[binary(b"a"), frame(0x88, b""), behind.clone()],
        b"a",
        b"\x88\0",
        Some(End::Closed(None)),
    );
    for code in [1000_u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        let payload = [&code.to_be_bytes()[..], "gr\u{fc}n".as_bytes()].concat();
        let answer = [&[0x88, 2], &code.to_be_bytes()[..]].concat();
        check(
            &[frame(0x88, &payload), behind.clone()],
            b"",
            &answer,
            Some(End::Closed(Some(code))),
        );
    }
}

/// The close frame that tells of a broken rule.
fn told(code: u16) -> Vec<u8> {
    [&[0x88, 2], &code.to_be_bytes()[..]].concat()
}

// [MQTT-6.0.0-1] [MQTT-6.0.0-1 @3.1.1] The text frames.
#[test]
fn broken_rules_are_told_and_end_all() {
    let mut unmasked = b"\x82\x01a".to_vec();
    unmasked.extend(binary(b"behind"));
    let cases: [(&[Vec<u8>], FrameViolation, u16); 30] = [
        (&[frame(0x81, b"text")], FrameViolation::Text, 1003),
        (&[frame(0x81, b"")], FrameViolation::Text, 1003),
        (&[frame(0x01, b"text")], FrameViolation::Text, 1003),
        (&[frame(0x02, b""), frame(0x81, b"text")], FrameViolation::Text, 1003),
        (&[frame(0xC2, b"x")], FrameViolation::ReservedBit, 1002),
        (&[frame(0xA2, b"x")], FrameViolation::ReservedBit, 1002),
        (&[frame(0x92, b"x")], FrameViolation::ReservedBit, 1002),
        (&[frame(0x83, b"x")], FrameViolation::ReservedOpcode, 1002),
        (&[frame(0x87, b"x")], FrameViolation::ReservedOpcode, 1002),
        (&[frame(0x8B, b"x")], FrameViolation::ReservedOpcode, 1002),
        (&[frame(0x8F, b"x")], FrameViolation::ReservedOpcode, 1002),
        (&[unmasked], FrameViolation::Unmasked, 1002),
        (&[b"\x89\0".to_vec()], FrameViolation::Unmasked, 1002),
        (&[b"\x82\xFF\x80\0\0\0\0\0\0\0".to_vec()], FrameViolation::Length, 1002),
        (&[b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec()], FrameViolation::Length, 1002),
        (&[b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec()], FrameViolation::TooBig, 1009),
        (&[b"\x82\xFF\0\0\0\0\x10\0\0\x05".to_vec()], FrameViolation::TooBig, 1009),
        (&[frame(0x80, b"x")], FrameViolation::ContinuationAlone, 1002),
        (&[frame(0x00, b"x")], FrameViolation::ContinuationAlone, 1002),
        (
            &[frame(0x02, b""), frame(0x80, b""), frame(0x80, b"x")],
            FrameViolation::ContinuationAlone,
            1002,
        ),
        (&[frame(0x02, b""), binary(b"x")], FrameViolation::MessageWithinMessage, 1002),
        (
            &[frame(0x02, b""), frame(0x00, b""), frame(0x02, b"x")],
            FrameViolation::MessageWithinMessage,
            1002,
        ),
        (&[frame(0x09, b"x")], FrameViolation::ControlFragmented, 1002),
        (&[frame(0x08, b"")], FrameViolation::ControlFragmented, 1002),
        (&[frame(0x89, &[b'x'; 126])], FrameViolation::ControlTooLong, 1002),
        (&[b"\x88\xFF\0\0\0\0\0\0\0\x01\0\0\0\0a".to_vec()], FrameViolation::ControlTooLong, 1002),
        (&[frame(0x88, b"x")], FrameViolation::CloseCode, 1002),
        (&[frame(0x88, &1005_u16.to_be_bytes())], FrameViolation::CloseCode, 1002),
        (&[frame(0x88, &5000_u16.to_be_bytes())], FrameViolation::CloseCode, 1002),
        (&[frame(0x88, b"\x03\xE8\xFF")], FrameViolation::CloseReason, 1007),
    ];
    for (stream, violation, code) in cases {
        let before = [&[binary(b"before")], stream, &[binary(b"behind")]].concat();
        // Empty fragments of a message add nothing, whatever comes next.
        check(&before, b"before", &told(code), Some(End::Violated(violation)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 0xFFFF_u16] {
        let end = End::Violated(FrameViolation::CloseCode);
        check(&[frame(0x88, &code.to_be_bytes())], b"", &told(1002), Some(end));
    }
    // The largest frame's head is none.
    check(&[b"\x82\xFF\0\0\0\0\x10\0\0\x04\0\0\0\0ab".to_vec()], b"ab", b"", None);
}

// [MQTT-6.0.0-1] [MQTT-6.0.0-1 @3.1.1]
#[test]
fn what_is_flushed_goes_out_as_one_binary_frame() {
    let heads: [(usize, &[u8]); 8] = [
        (1, b"\x82\x01"),
        (125, b"\x82\x7D"),
        (126, b"\x82\x7E\0\x7E"),
        (0xFFFF, b"\x82\x7E\xFF\xFF"),
        (0x1_0000, b"\x82\x7F\0\0\0\0\0\x01\0\0"),
        (0x1000_0000, b"\x82\x7F\0\0\0\0\x10\0\0\0"),
        (2, b"\x82\x02"),
        (300, b"\x82\x7E\x01\x2C"),
    ];
    let mut framer = Framer::default();
    assert_eq!(framer.outgoing(0), None);
    for (plain, head) in heads {
        // What was offered and not written is no promise.
        framer.outgoing(77);
        assert_eq!(framer.outgoing(plain), Some(Outgoing::Data { head, plain }));
        assert_eq!(framer.wrote(head.len() + plain), plain);
    }
    assert_eq!(framer.outgoing(0), None);
}

#[test]
fn a_frame_that_is_written_in_pieces_keeps_its_length() {
    let mut framer = Framer::default();
    let head: &[u8] = b"\x82\x7E\x01\x2C";
    assert_eq!(framer.outgoing(300), Some(Outgoing::Data { head, plain: 300 }));
    assert_eq!(framer.wrote(0), 0);
    assert_eq!(framer.outgoing(300), Some(Outgoing::Data { head, plain: 300 }));
    assert_eq!(framer.wrote(3), 0);
    framer.receive(&mut frame(0x89, b"?"));
    assert!(!framer.has_control());
    assert_eq!(framer.outgoing(0), Some(Outgoing::Data { head: &head[3..], plain: 0 }));
    assert_eq!(framer.outgoing(500), Some(Outgoing::Data { head: &head[3..], plain: 300 }));
    assert_eq!(framer.wrote(101), 100);
    framer.close(CloseCode::GoingAway);
    assert_eq!(framer.outgoing(0), None);
    assert_eq!(framer.outgoing(150), Some(Outgoing::Data { head: b"", plain: 150 }));
    assert_eq!(framer.wrote(150), 150);
    assert_eq!(framer.outgoing(150), Some(Outgoing::Data { head: b"", plain: 50 }));
    assert_eq!(framer.wrote(50), 50);
    assert!(framer.has_control());
    assert_eq!(framer.outgoing(100), Some(Outgoing::Control(b"\x8A\x01?")));
    assert_eq!(framer.wrote(3), 0);
    assert_eq!(framer.outgoing(100), Some(Outgoing::Control(b"\x88\x02\x03\xE9")));
    assert_eq!(framer.wrote(4), 0);
    // Nothing goes behind a close frame.
    assert!(framer.is_closed());
    assert_eq!(framer.outgoing(100), None);
    framer.receive(&mut frame(0x89, b"?"));
    framer.close(CloseCode::Normal);
    assert_eq!(framer.outgoing(100), None);
}

#[test]
fn the_first_close_frame_is_the_only_one() {
    let mut framer = Framer::default();
    framer.close(CloseCode::Normal);
    framer.close(CloseCode::Internal);
    assert_eq!(framer.receive(&mut frame(0x88, b"\x0F\xA0")).end, Some(End::Closed(Some(4000))));
    assert_eq!(framer.outgoing(0), Some(Outgoing::Control(b"\x88\x02\x03\xE8")));
    framer.wrote(1);
    framer.close(CloseCode::Internal);
    assert_eq!(framer.outgoing(0), Some(Outgoing::Control(b"\x02\x03\xE8")));
    framer.wrote(3);
    assert_eq!(framer.outgoing(0), None);
}

#[test]
fn an_idle_connection_owns_next_to_nothing() {
    assert!(size_of::<Framer>() <= 112, "{}", size_of::<Framer>());
    let mut framer = Framer::default();
    framer.receive(&mut [frame(0x89, b"?"), binary(b"abc")].concat());
    framer.outgoing(0);
    framer.wrote(3);
    assert_eq!(framer.outgoing(0), None);
    assert!(framer.inbound.control.capacity() == 0 && framer.outbound.control.is_none());
}

/// Frames that are mostly what they should be.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        10 => Just(0x82_u8),
        4 => Just(0x02),
        4 => Just(0x00),
        4 => Just(0x80),
        4 => Just(0x89),
        2 => Just(0x8A),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..12),
        2 => prop::collection::vec(any::<u8>(), 120..140),
        1 => Just(b"\x03\xE8bye".to_vec()),
        1 => Just(vec![7; 0x1_0001]),
    ];
    let one = (first, payload).prop_map(|(first, payload)| frame(first, &payload));
    prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_stream_is_read_as_the_oracle_reads_it(
        stream in prop_oneof![3 => frames(), 1 => prop::collection::vec(any::<u8>(), 0..40)],
        pieces in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let mut rest = &stream[..];
        let mut cut = Vec::new();
        for len in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*len).min(rest.len()));
            cut.push(piece);
            rest = more;
        }
        let outcome = take(cut.iter().copied());
        let ends: Vec<usize> = cut.iter().scan(0, |end, piece| { *end += piece.len(); Some(*end) }).collect();
        let told = oracle::read(&stream);
        prop_assert_eq!(&outcome.plain, &told.plain);
        prop_assert_eq!(outcome.answers, told.answers(&ends));
        let code = outcome.end.map(|end| match end {
            End::Closed(code) => code,
            End::Violated(violation) => Some(violation.close_code().get()),
        });
        prop_assert_eq!(code, told.end.map(|(_, code)| code));
    }

    #[test]
    fn what_is_written_in_any_pieces_is_read_back(
        sizes in prop::collection::vec((0_usize..400, 1_usize..200), 1..40),
    ) {
        let mut framer = Framer::default();
        let (mut wire, mut plain, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (more, room)) in sizes.iter().enumerate() {
            waiting.extend((0..*more).map(|at| (at % 253) as u8));
            if index % 7 == 3 {
                framer.receive(&mut frame(0x89, b"ping"));
            }
            let written = match framer.outgoing(waiting.len()) {
                Some(Outgoing::Control(bytes)) => bytes.to_vec(),
                Some(Outgoing::Data { head, plain }) => [head, &waiting[..plain]].concat(),
                None => continue,
            };
            let written = &written[..written.len().min(*room)];
            wire.extend(written);
            let taken = framer.wrote(written.len());
            plain.extend(waiting.drain(..taken));
        }
        // A client sees the same, up to the frame that is not complete.
        let (mut read, mut rest) = (Vec::<u8>::new(), &wire[..]);
        while let [first, len, behind @ ..] = rest {
            let (len, behind) = match (len, behind) {
                (126, [high, low, behind @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), behind),
                (126, _) => break,
                (len, behind) => (usize::from(*len), behind),
            };
            let payload = &behind[..len.min(behind.len())];
            match first {
                0x82 => read.extend(payload),
                0x8A => prop_assert!(b"ping".starts_with(payload)),
                first => prop_assert!(false, "{first}"),
            }
            rest = &behind[payload.len()..];
        }
        prop_assert_eq!(read, plain);
    }
}
