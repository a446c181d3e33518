//! What a header of version 2 says behind its addresses: fields of a type, a length and a value.

use super::{Malformed, ProxiedTls};

const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;

/// The client connected by TLS.
const CLIENT_TLS: u8 = 1;
/// It presented a certificate in this connection, or in the session that was resumed.
const CLIENT_CERTIFICATE: u8 = 2 | 4;

/// What is taken from the fields; types that are not known or not of use here are skipped.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) authority: Option<&'a str>,
    pub(super) tls: Option<ProxiedTls<'a>>,
}

/// Reads all fields, which lie at the end of `header`.
pub(super) fn read_all<'a>(mut fields: &'a [u8], header: &'a [u8]) -> Result<Told<'a>, Malformed> {
    let mut told = Told::default();
    while !fields.is_empty() {
        let (kind, value, rest) = next(fields)?;
        match kind {
            AUTHORITY => told.authority = Some(text(value)?),
            CRC32C => check(value, header, rest.len())?,
            SSL => told.tls = Some(tls(value)?),
            _ => {}
        }
        fields = rest;
    }
    Ok(told)
}

/// The first field's type and value, and what is behind it.
fn next(fields: &[u8]) -> Result<(u8, &[u8], &[u8]), Malformed> {
    let [kind, high, low, rest @ ..] = fields else { return Err(Malformed::Tlv) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(len).ok_or(Malformed::Tlv)?;
    Ok((*kind, value, rest))
}

/// Compares the checksum with that of the whole header, in which its own four bytes count as 0. `behind` bytes follow it.
fn check(value: &[u8], header: &[u8], behind: usize) -> Result<(), Malformed> {
    let value: &[u8; 4] = value.try_into().map_err(|_| Malformed::Tlv)?;
    let (before, rest) =
        header.split_at_checked(header.len() - behind - 4).ok_or(Malformed::Tlv)?;
    let after = rest.get(4..).unwrap_or_default();
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), after);
    if sum == u32::from_be_bytes(*value) { Ok(()) } else { Err(Malformed::Checksum) }
}

fn tls(value: &[u8]) -> Result<ProxiedTls<'_>, Malformed> {
    let (client, rest) = value.split_first().ok_or(Malformed::Tlv)?;
    let (verify, mut fields) = rest.split_first_chunk::<4>().ok_or(Malformed::Tlv)?;
    let mut tls = ProxiedTls {
        is_tls: client & CLIENT_TLS != 0,
        // 0 also stands for "nothing to verify".
        is_verified: client & CLIENT_CERTIFICATE != 0 && *verify == [0; 4],
        ..ProxiedTls::default()
    };
    while !fields.is_empty() {
        let (kind, value, rest) = next(fields)?;
        match kind {
            SSL_VERSION => tls.version = Some(text(value)?),
            SSL_COMMON_NAME => tls.common_name = Some(text(value)?),
            _ => {}
        }
        fields = rest;
    }
    Ok(tls)
}

/// Text that may be logged and compared.
fn text(value: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_| Malformed::Text)?;
    if text.chars().any(char::is_control) { Err(Malformed::Text) } else { Ok(text) }
}
