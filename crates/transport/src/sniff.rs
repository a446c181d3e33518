//! Which protocol the first bytes of a connection belong to.

/// Bytes after which it is always known.
pub const SNIFF_BYTES_MAX: usize = METHOD_BYTES_MAX + 1;
/// The longest method of HTTP that is taken for one.
const METHOD_BYTES_MAX: usize = 16;

/// A protocol, known by how it begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sniffed {
    /// A TLS record with the beginning of a handshake, which is a ClientHello.
    Tls,
    /// A method of HTTP.
    Http,
    /// A PROXY header, v1 or v2.
    Proxy,
    /// The first byte of CONNECT. [MQTT-2.1.3-1]
    Mqtt,
    /// None of these.
    Unknown,
}

/// Says what begins with these bytes; `None` while they are too few to tell, of which there are fewer than
/// [`SNIFF_BYTES_MAX`].
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    match bytes {
        [] | [0x16 | b'\r'] => None,
        [0x10, ..] => Some(Sniffed::Mqtt),
        // All versions of TLS say 3 in the record's version.
        [0x16, 3, ..] => Some(Sniffed::Tls),
        // The signature of v2 begins with CR LF twice; HTTP may, but no client's does.
        [b'\r', b'\n', ..] => Some(Sniffed::Proxy),
        [b'A'..=b'Z', ..] => text(bytes),
        _ => Some(Sniffed::Unknown),
    }
}

/// What begins with a capital letter.
fn text(bytes: &[u8]) -> Option<Sniffed> {
    match bytes.iter().position(|byte| !byte.is_ascii_uppercase()) {
        Some(end) if bytes.get(end) == Some(&b' ') && end <= METHOD_BYTES_MAX => {
            let is_proxy = bytes.starts_with(b"PROXY ");
            Some(if is_proxy { Sniffed::Proxy } else { Sniffed::Http })
        }
        None if bytes.len() <= METHOD_BYTES_MAX => None,
        Some(_) | None => Some(Sniffed::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_known_by_how_it_begins() {
        let cases: [(&[u8], Option<Sniffed>); 20] = [
            (b"", None),
            (b"\x10", Some(Sniffed::Mqtt)),
            (b"\x10\x0c\0\x04MQTT", Some(Sniffed::Mqtt)),
            (b"\x16", None),
            (b"\x16\x03", Some(Sniffed::Tls)),
            (b"\x16\x03\x01\x02\0\x01", Some(Sniffed::Tls)),
            (b"\x16\x02", Some(Sniffed::Unknown)),
            (b"G", None),
            (b"GET", None),
            (b"GET ", Some(Sniffed::Http)),
            (b"GET / HTTP/1.1\r\n", Some(Sniffed::Http)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Sniffed::Http)),
            (b"GET\t", Some(Sniffed::Unknown)),
            (b"ABCDEFGHIJKLMNOP", None),
            (b"ABCDEFGHIJKLMNOP ", Some(Sniffed::Http)),
            (b"ABCDEFGHIJKLMNOPQ", Some(Sniffed::Unknown)),
            (b"PROXY TCP4", Some(Sniffed::Proxy)),
            (b"\r\n\r\n\0\r\nQUIT\n", Some(Sniffed::Proxy)),
            (b"get / http/1.1", Some(Sniffed::Unknown)),
            (b"\0\0", Some(Sniffed::Unknown)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn more_bytes_never_change_what_was_said() {
        for bytes in [
            &b"OPTIONS * HTTP/1.1"[..],
            b"PROXY TCP4 ",
            b"\x16\x03\x03\0\0\0",
            b"ABCDEFGHIJKLMNOPQRS",
        ] {
            let said: Vec<_> = (0..=bytes.len()).filter_map(|len| sniff(&bytes[..len])).collect();
            assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
            assert!(sniff(&bytes[..bytes.len().min(SNIFF_BYTES_MAX)]).is_some());
        }
    }
}
