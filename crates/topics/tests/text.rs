//! What a UTF-8 Encoded String may hold: section 1.5.4 of MQTT 5.0, 1.5.3 of 3.1.1.

use dunlin_topics::{InvalidText, TEXT_BYTES_MAX, Text, TextRules, check_text};

use InvalidText::{Control, NonCharacter, NotUtf8, Null, Surrogate, TooLong};

const CONTROL_ONLY: TextRules = TextRules { allow_control: true, allow_non_characters: false };
const NON_CHARACTERS_ONLY: TextRules =
    TextRules { allow_control: false, allow_non_characters: true };

/// The text, and what is wrong with it under the default rules.
const ALWAYS: [(&[u8], Result<(), InvalidText>); 38] = [
    (b"", Ok(())),
    (b"a", Ok(())),
    (b" ~", Ok(())),
    ("grüße".as_bytes(), Ok(())),
    ("\u{A0}".as_bytes(), Ok(())),
    ("\u{D7FF}\u{E000}".as_bytes(), Ok(())),
    ("\u{FDCF}\u{FDF0}".as_bytes(), Ok(())),
    ("\u{FFFD}".as_bytes(), Ok(())),
    ("\u{1F426}".as_bytes(), Ok(())),
    ("\u{10FFFD}".as_bytes(), Ok(())),
    // [MQTT-1.5.4-3] [MQTT-1.5.3-3 @3.1.1]
    (b"\xEF\xBB\xBFa", Ok(())),
    (b"a\xEF\xBB\xBF", Ok(())),
    // [MQTT-1.5.4-2] [MQTT-1.5.3-2 @3.1.1] [MQTT-4.7.3-2] [MQTT-4.7.3-2 @3.1.1]
    (b"\0", Err(Null { offset: 0 })),
    (b"abc\0", Err(Null { offset: 3 })),
    ("ü\0\u{1}".as_bytes(), Err(Null { offset: 2 })),
    // Surrogates. [MQTT-1.5.4-1] [MQTT-1.5.3-1 @3.1.1]
    (b"\xED\xA0\x80", Err(Surrogate { offset: 0 })),
    (b"ab\xED\xBF\xBF", Err(Surrogate { offset: 2 })),
    (b"\xED\xA0\xBD\xED\xB0\xA6", Err(Surrogate { offset: 0 })),
    // A stray continuation, cut short, overlong, beyond the last plane, never in UTF-8.
    (b"\x80", Err(NotUtf8 { offset: 0 })),
    (b"ab\xC3", Err(NotUtf8 { offset: 2 })),
    (b"\xC3\x28", Err(NotUtf8 { offset: 0 })),
    (b"\xED\xA0", Err(NotUtf8 { offset: 0 })),
    (b"\xE2\x82", Err(NotUtf8 { offset: 0 })),
    (b"\xF0\x9F\x90", Err(NotUtf8 { offset: 0 })),
    (b"\xC0\x80", Err(NotUtf8 { offset: 0 })),
    (b"\xE0\x80\xAF", Err(NotUtf8 { offset: 0 })),
    (b"\xF4\x90\x80\x80", Err(NotUtf8 { offset: 0 })),
    (b"a/\xFF", Err(NotUtf8 { offset: 2 })),
    // Refused unless the rules say otherwise.
    (b"\x01", Err(Control { offset: 0 })),
    (b"a\tb", Err(Control { offset: 1 })),
    (b"line\n", Err(Control { offset: 4 })),
    (b"\x1F", Err(Control { offset: 0 })),
    (b"\x7F", Err(Control { offset: 0 })),
    ("a\u{80}".as_bytes(), Err(Control { offset: 1 })),
    ("ü\u{9F}".as_bytes(), Err(Control { offset: 2 })),
    ("\u{FDD0}".as_bytes(), Err(NonCharacter { offset: 0 })),
    ("a\u{FFFE}".as_bytes(), Err(NonCharacter { offset: 1 })),
    ("\u{10FFFF}".as_bytes(), Err(NonCharacter { offset: 0 })),
];

fn check(text: &[u8], rules: TextRules) -> Result<(), InvalidText> {
    let checked = check_text(text, rules);
    assert_eq!(checked.map(str::as_bytes), checked.map(|_| text), "text is given back unchanged");
    let owned = Text::parse(text, rules);
    assert_eq!(owned.as_ref().map(Text::as_bytes).map_err(|e| *e), checked.map(str::as_bytes));
    let taken = Text::with_rules(text.to_vec(), rules);
    assert_eq!(taken, owned);
    checked.map(|_| ())
}

#[test]
fn every_text_of_the_table_is_accepted_or_refused_with_its_reason() {
    for (text, expected) in ALWAYS {
        assert_eq!(check(text, TextRules::default()), expected, "{text:x?}");
    }
}

#[test]
fn rules_let_through_what_they_name_and_nothing_else() {
    for (text, expected) in ALWAYS {
        let is_control = matches!(expected, Err(Control { .. }));
        let is_non_character = matches!(expected, Err(NonCharacter { .. }));
        let unless = |allowed| if allowed { Ok(()) } else { expected };
        assert_eq!(check(text, CONTROL_ONLY), unless(is_control), "{text:x?}");
        assert_eq!(check(text, NON_CHARACTERS_ONLY), unless(is_non_character), "{text:x?}");
        let either = is_control || is_non_character;
        assert_eq!(check(text, TextRules::PERMISSIVE), unless(either), "{text:x?}");
    }
}

#[test]
fn every_code_point_is_accepted_or_refused_as_the_standard_says() {
    for code_point in 0..=0x0010_FFFF_u32 {
        let Some(c) = char::from_u32(code_point) else { continue };
        let expected = match code_point {
            0 => Err(Null { offset: 1 }),
            0x01..=0x1F | 0x7F..=0x9F => Err(Control { offset: 1 }),
            0xFDD0..=0xFDEF => Err(NonCharacter { offset: 1 }),
            _ if code_point % 0x1_0000 >= 0xFFFE => Err(NonCharacter { offset: 1 }),
            _ => Ok(()),
        };
        let text = format!("a{c}");
        let checked = check_text(text.as_bytes(), TextRules::default());
        assert_eq!(checked.map(|_| ()), expected, "U+{code_point:04X}");
    }
}

// [MQTT-4.7.3-3] [MQTT-4.7.3-3 @3.1.1]
#[test]
fn the_longest_text_has_65535_bytes() {
    let longest = "a".repeat(TEXT_BYTES_MAX);
    assert_eq!(check(longest.as_bytes(), TextRules::default()), Ok(()));
    let longer = "a".repeat(TEXT_BYTES_MAX + 1);
    let too_long = Err(TooLong { length: 65_536 });
    assert_eq!(check(longer.as_bytes(), TextRules::default()), too_long);
    assert_eq!(check(longer.as_bytes(), TextRules::PERMISSIVE), too_long);
}

#[test]
fn errors_name_the_statement_and_the_byte() {
    for (error, spec, offset) in [
        (TooLong { length: 70_000 }, "MQTT-4.7.3-3", 65_535),
        (NotUtf8 { offset: 7 }, "MQTT-1.5.4-1", 7),
        (Surrogate { offset: 7 }, "MQTT-1.5.4-1", 7),
        (Null { offset: 7 }, "MQTT-1.5.4-2", 7),
        (Control { offset: 7 }, "MQTT s1.5.4", 7),
        (NonCharacter { offset: 7 }, "MQTT s1.5.4", 7),
    ] {
        assert_eq!((error.spec(), error.offset()), (spec, offset), "{error}");
    }
}

#[test]
fn text_is_ordered_hashed_and_borrowed_as_its_bytes() {
    let texts = ["", "a", "a/b", "b"].map(|text| Text::try_from(text).expect("plain text"));
    assert!(texts.is_sorted());
    assert_eq!(texts.each_ref().map(Text::len), [0, 1, 3, 1]);
    assert_eq!(texts[0], Text::empty());
    assert!(texts[0].is_empty());

    let map = std::collections::HashMap::from(texts.clone().map(|text| (text.clone(), text)));
    assert_eq!(map.get(b"a/b".as_slice()), Some(&texts[2]));
    assert_eq!(format!("{:>4}|{:?}", texts[2], texts[2]), " a/b|\"a/b\"");
}
