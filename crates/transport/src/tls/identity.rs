//! What a certificate says of its holder.

use std::fmt::Write;

use ring::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::Oid;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::peer::Certificate;

/// Attributes with a short name: those of RFC 4514, and two more that certificates often carry.
const SHORT_NAMES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
];

/// Reads a certificate that was verified; none if it is malformed beyond what the verification looks at.
pub(crate) fn certificate(der: &[u8]) -> Option<Certificate> {
    let (_, parsed) = parse_x509_certificate(der).ok()?;
    let mut certificate = Certificate {
        common_name: parsed
            .subject()
            .iter_common_name()
            .last()
            .and_then(|name| name.as_str().ok())
            .and_then(clean),
        distinguished_name: distinguished_name(parsed.subject()),
        serial: hexadecimal(parsed.raw_serial()),
        ..Certificate::default()
    };
    if let Some(fingerprint) = certificate.fingerprint.get_mut(..) {
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
    }
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => certificate.dns_names.extend(clean(name)),
            GeneralName::URI(name) => certificate.uris.extend(clean(name)),
            GeneralName::RFC822Name(name) => certificate.emails.extend(clean(name)),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => {}
        }
    }
    Some(certificate)
}

/// A name that may stand for its holder: without control characters, which have misled others before.
fn clean(name: &str) -> Option<Box<str>> {
    (!name.is_empty() && !name.chars().any(char::is_control)).then(|| name.into())
}

fn hexadecimal(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// A Distinguished Name as RFC 4514 writes it: most specific part first.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> Box<str> {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",").into()
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    match (short_name(kind), attribute.as_str()) {
        (Some(kind), Ok(value)) => format!("{kind}={}", escaped(value)),
        (kind_name, _) => {
            let kind = kind_name.map_or_else(|| kind.to_id_string(), str::to_owned);
            format!("{kind}=#{}", hexadecimal(attribute.attr_value().as_bytes()))
        }
    }
}

fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    let kind = kind.to_id_string();
    SHORT_NAMES.iter().find(|(id, _)| *id == kind).map(|(_, name)| *name)
}

/// RFC 4514, section 2.4. Control characters are escaped as well.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            '#' | ' ' if index == 0 => text.extend(['\\', char]),
            ' ' if index == last => text.extend(['\\', char]),
            char if char.is_control() => {
                let mut bytes = [0; 4];
                for byte in char.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_rfc_4514_has_it() {
        let cases = [
            ("Acme", "Acme"),
            ("James \"Jim\" Smith, III", "James \\\"Jim\\\" Smith\\, III"),
            ("Before\rAfter", "Before\\0DAfter"),
            (" #x ", "\\ #x\\ "),
            ("#x", "\\#x"),
            (" ", "\\ "),
            ("Lučić", "Lučić"),
        ];
        for (value, expected) in cases {
            assert_eq!(escaped(value), expected);
        }
    }
}
