//! PROXY headers against a plain reading of them, and the same however much of them has arrived.

#![no_main]

use std::net::SocketAddr;

use dunlin_transport::proxy::{Addresses, Header, Malformed, V1_BYTES_MAX, V2_BYTES_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    // What has arrived says nothing yet, or the same as the whole.
    let said = (0..input.len()).map(|len| parse(&input[..len])).find(|said| *said != Ok(None));
    if let Some(said) = said {
        assert_eq!(said, whole);
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.len <= input.len());
            let header = Some((header.len, header.addresses, facts(&header)));
            assert_eq!(header, text(input).or_else(|| binary(input)));
        }
        Ok(None) => assert!(input.len() < V2_BYTES_MAX),
        Err(malformed) => {
            assert_eq!(text(input).or_else(|| binary(input)), None, "{malformed}");
            let is_header =
                input.starts_with(b"PROXY ") || input.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
            assert_eq!(malformed == Malformed::Missing, !is_header);
        }
    }
});

/// Server name; whether by TLS, whether verified, version, common name.
type Facts = (Option<String>, Option<(bool, bool, Option<String>, Option<String>)>);
type Read = Option<(usize, Addresses, Facts)>;

fn facts(header: &Header<'_>) -> Facts {
    let tls = header.tls.map(|tls| {
        let (version, name) = (tls.version.map(str::to_owned), tls.common_name.map(str::to_owned));
        (tls.is_tls, tls.is_verified, version, name)
    });
    (header.authority.map(str::to_owned), tls)
}

/// A header of version 1.
fn text(input: &[u8]) -> Read {
    let end = input.windows(2).take(V1_BYTES_MAX - 1).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&input[..end]).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let none = (None, None);
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some((end + 2, Addresses::Own, none)),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let join = |address: &str, port: &str| -> Option<SocketAddr> {
                let is_port = port.parse::<u16>().ok()?.to_string() == port;
                let address = match family {
                    "TCP4" => format!("{address}:{port}"),
                    _ => format!("[{address}]:{port}"),
                };
                // A scope is no part of an address here.
                address.parse().ok().filter(|_| is_port && !address.contains('%'))
            };
            let (source, destination) = (join(from, from_port)?, join(to, to_port)?);
            Some((end + 2, Addresses::Inet { source, destination }, none))
        }
        _ => None,
    }
}

/// A header of version 2.
fn binary(input: &[u8]) -> Read {
    let rest = input.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
    let len = usize::from(*rest.get(2)?) * 256 + usize::from(*rest.get(3)?);
    let body = rest.get(4..4 + len)?;
    if len + 16 > V2_BYTES_MAX {
        return None;
    }
    let (addresses, from) = match (rest[0], rest[1]) {
        (0x20, _) => return Some((len + 16, Addresses::Own, (None, None))),
        (0x21, 0) => (Addresses::Own, 0),
        (0x21, 0x11) if len >= 12 => {
            let address = |at: usize, port: usize| {
                let ip: [u8; 4] = body[at..at + 4].try_into().unwrap();
                SocketAddr::from((ip, u16::from(body[port]) << 8 | u16::from(body[port + 1])))
            };
            (Addresses::Inet { source: address(0, 8), destination: address(4, 10) }, 12)
        }
        (0x21, 0x21) if len >= 36 => {
            let address = |at: usize, port: usize| {
                let ip: [u8; 16] = body[at..at + 16].try_into().unwrap();
                SocketAddr::from((ip, u16::from(body[port]) << 8 | u16::from(body[port + 1])))
            };
            (Addresses::Inet { source: address(0, 32), destination: address(16, 34) }, 36)
        }
        (0x21, 0x31) if len >= 216 => (Addresses::Unix, 216),
        _ => return None,
    };
    let mut facts: Facts = (None, None);
    for (kind, at, value) in fields(&body[from..])? {
        match kind {
            2 => facts.0 = Some(clean(value)?),
            3 => {
                let mut header = input[..16 + len].to_vec();
                let at = 16 + from + at;
                header.get_mut(at..at + 4)?.fill(0);
                if value != crc32c(&header).to_be_bytes() {
                    return None;
                }
            }
            0x20 => {
                let mut tls = (
                    value.first()? & 1 == 1,
                    value.first()? & 6 != 0 && value.get(1..5)? == [0; 4],
                    None,
                    None,
                );
                for (kind, _, value) in fields(value.get(5..)?)? {
                    match kind {
                        0x21 => tls.2 = Some(clean(value)?),
                        0x22 => tls.3 = Some(clean(value)?),
                        _ => {}
                    }
                }
                facts.1 = Some(tls);
            }
            _ => {}
        }
    }
    Some((len + 16, addresses, facts))
}

/// Type, place and value of each field, if they fill the bytes.
fn fields(bytes: &[u8]) -> Option<Vec<(u8, usize, &[u8])>> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let len = usize::from(*bytes.get(at + 1)?) * 256 + usize::from(*bytes.get(at + 2)?);
        fields.push((bytes[at], at + 3, bytes.get(at + 3..at + 3 + len)?));
        at += 3 + len;
    }
    Some(fields)
}

fn clean(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok().filter(|text| !text.contains(|c: char| c.is_control()))
}

/// By the polynomial, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 }
        })
    })
}
