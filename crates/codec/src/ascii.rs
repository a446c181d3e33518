//! The fast path of text checks: nearly all names are printable ASCII, where nothing can be refused.

/// The same byte in all eight places of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of every byte of a word.
const TOP: u64 = each(0x80);

/// Whether all bytes are printable ASCII and none is a wildcard.
#[inline]
pub(crate) fn is_plain_name(bytes: &[u8]) -> bool {
    fold(bytes, |word| {
        // `#` and `+` differ in one bit.
        let wildcard = !((word & each(!0x08)) ^ each(b'#')).wrapping_add(each(0x7F));
        not_printable(word) | wildcard
    })
}

/// Whether all bytes are printable ASCII.
#[inline]
pub(crate) fn is_plain_text(bytes: &[u8]) -> bool {
    fold(bytes, not_printable)
}

/// Sets the top bit of every byte that is not printable ASCII. The additions stay within their byte while all
/// bytes are ASCII, and where one is not, the word itself has a top bit.
#[inline]
const fn not_printable(word: u64) -> u64 {
    word | !word.wrapping_add(each(0x60)) | word.wrapping_add(each(0x01))
}

/// Whether no word of the bytes has a top bit set in what `test` makes of it.
#[inline]
fn fold(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else { return test(short(bytes)) & TOP == 0 };
    // The last word may overlap the one before it.
    let mut found = test(u64::from_ne_bytes(*last));
    for word in bytes.as_chunks::<8>().0 {
        found |= test(u64::from_ne_bytes(*word));
    }
    found & TOP == 0
}

/// A word of fewer than eight bytes, some of them twice.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last));
    }
    match *bytes {
        [a, b, c] => u64::from_ne_bytes([a, b, c, c, c, c, c, c]),
        [a, b] => u64::from_ne_bytes([a, b, b, b, b, b, b, b]),
        [a] => each(a),
        _ => each(b'a'),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::{is_plain_name, is_plain_text};

    /// Every byte at every place of every short length, beside a look at each byte.
    #[test]
    fn words_find_what_bytes_show() {
        for len in 0..20 {
            for place in 0..len {
                for byte in 0..=0xFF_u8 {
                    let mut bytes = vec![b'x'; len];
                    bytes[place] = byte;
                    let printable = matches!(byte, 0x20..=0x7E);
                    assert_eq!(is_plain_text(&bytes), printable, "{bytes:02x?}");
                    let is_wildcard = matches!(byte, b'+' | b'#');
                    assert_eq!(is_plain_name(&bytes), printable && !is_wildcard, "{bytes:02x?}");
                }
            }
        }
        assert!(is_plain_text(b"") && is_plain_name(b""));
        // A byte whose sum carries over must not hide its neighbour, nor be hidden by it.
        assert!(!is_plain_text(b"xx\xff\x00xxxx") && !is_plain_name(b"xx\xff#xxxx"));
    }
}
