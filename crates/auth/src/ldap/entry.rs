//! Entries of a directory, as far as anybody here wants to know them.

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

/// SearchResultEntry (RFC 4511, section 4.5.2).
const SEARCH_RESULT_ENTRY: u64 = 4;

/// An entry with the attributes that were asked for. Values that are no UTF-8 are left out.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dn: String,
    attributes: Vec<(String, Vec<String>)>,
}

impl Entry {
    /// One of which nothing is to be known.
    pub(super) const fn without_attributes(dn: String) -> Self {
        Self { dn, attributes: Vec::new() }
    }

    /// None for what is no entry, such as a reference to another directory, or not built like one.
    pub(super) fn read(entry: ResultEntry) -> Option<Self> {
        let entry = entry.0;
        if entry.id != SEARCH_RESULT_ENTRY {
            return None;
        }
        let mut parts = constructed(entry)?.into_iter();
        let dn = text(parts.next()?)?;
        let mut attributes = Vec::new();
        for attribute in constructed(parts.next()?)? {
            let mut parts = constructed(attribute)?.into_iter();
            let name = text(parts.next()?)?;
            let values = constructed(parts.next()?)?.into_iter().filter_map(text);
            attributes.push((name, values.collect()));
        }
        Some(Self { dn, attributes })
    }

    /// The values of the attribute of this name, whose case does not matter (RFC 4512, section 2.5).
    pub(super) fn values(&self, name: &str) -> &[String] {
        let found = self.attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(&[], |(_, values)| values)
    }
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

fn text(tag: StructureTag) -> Option<String> {
    match tag.payload {
        PL::P(bytes) => String::from_utf8(bytes).ok(),
        PL::C(_) => None,
    }
}

/// The value of the first part of a name, `ops` of `cn=ops,ou=groups`; a text that is no name as it is.
pub(super) fn first_value(name: &str) -> String {
    let Some((attribute, rest)) = name.split_once('=') else { return name.to_owned() };
    let is_attribute = !attribute.is_empty()
        && attribute
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !is_attribute {
        return name.to_owned();
    }
    let mut bytes = Vec::new();
    let mut letters = rest.bytes();
    while let Some(byte) = letters.next() {
        match byte {
            b',' | b'+' => break,
            b'\\' => {
                let Some(first) = letters.next() else { break };
                let mut ahead = letters.clone();
                let pair = hexadecimal(first).zip(ahead.next().and_then(hexadecimal));
                match pair {
                    Some((high, low)) => {
                        bytes.push(high << 4 | low);
                        letters = ahead;
                    }
                    None => bytes.push(first),
                }
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn tag(id: u64, payload: PL) -> StructureTag {
        StructureTag { class: TagClass::Universal, id, payload }
    }

    fn octets(text: &[u8]) -> StructureTag {
        tag(4, PL::P(text.to_vec()))
    }

    fn entry(id: u64, parts: Vec<StructureTag>) -> Option<Entry> {
        Entry::read(ResultEntry::new(tag(id, PL::C(parts))))
    }

    #[test]
    fn an_entry_is_read_and_what_is_none_is_not() {
        let values = tag(17, PL::C(vec![octets(b"ops"), octets(b"\xff"), octets(b"dev")]));
        let attribute = tag(16, PL::C(vec![octets(b"memberOf"), values]));
        let attributes = tag(16, PL::C(vec![attribute]));
        let read = entry(4, vec![octets(b"uid=a"), attributes.clone()]).expect("an entry");
        assert_eq!(
            (read.dn.as_str(), read.values("MEMBEROF").join(" ")),
            ("uid=a", "ops dev".to_owned())
        );
        assert!(read.values("uid").is_empty());

        let wrong = [
            entry(19, vec![octets(b"ldap://elsewhere")]),
            entry(4, vec![]),
            entry(4, vec![octets(b"uid=a")]),
            entry(4, vec![octets(b"\xff"), attributes.clone()]),
            entry(4, vec![octets(b"uid=a"), octets(b"x")]),
            entry(4, vec![octets(b"uid=a"), tag(16, PL::C(vec![octets(b"x")]))]),
        ];
        assert!(wrong.iter().all(Option::is_none));
    }

    #[test]
    fn of_a_name_the_first_part_counts() {
        for (name, expected) in [
            ("ops", "ops"),
            ("cn=ops,ou=groups,dc=x", "ops"),
            ("CN=ops", "ops"),
            (r"cn=a\,b\2bc+sn=x,dc=x", "a,b+c"),
            (r"cn=\C3\86gir,dc=x", "Ægir"),
            (r"cn=a\", "a"),
            ("", ""),
            ("a role = b", "a role = b"),
            ("=x", "=x"),
        ] {
            assert_eq!(first_value(name), expected, "{name}");
        }
    }
}
