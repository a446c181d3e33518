//! The shortest answers to what is no message.

use dunlin_benches::wire::{Frame, Version, first, variable};

/// The version of a CONNECT; 3.1.1 if it is none of the two.
pub(crate) fn version(body: &[u8]) -> Version {
    // After the name of the protocol.
    match body.get(6) {
        Some(5) => Version::V5,
        _ => Version::V3_1_1,
    }
}

pub(crate) fn connack(version: Version) -> &'static [u8] {
    match version {
        Version::V3_1_1 => &[first::CONNACK, 2, 0, 0],
        Version::V5 => &[first::CONNACK, 3, 0, 0, 0],
    }
}

/// Grants what is asked for and says which filters these are; none if the packet is not one.
pub(crate) fn suback(version: Version, body: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let (id, mut rest) = body.split_first_chunk::<2>()?;
    let mut answer = id.to_vec();
    if version == Version::V5 {
        let (length, after) = variable(rest).ok().flatten()?;
        rest = after.get(length..)?;
        answer.push(0);
    }
    let mut filters = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (filter, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (options, after) = after.split_first()?;
        filters.push(filter.to_vec());
        answer.push(options & 3);
        rest = after;
    }
    let mut packet = vec![first::SUBACK];
    dunlin_benches::wire::put_variable(answer.len(), &mut packet);
    packet.extend(answer);
    Some((packet, filters))
}

/// The Topic Name of a PUBLISH.
pub(crate) fn topic<'a>(publish: Frame<'a>) -> Option<&'a [u8]> {
    let (length, rest) = publish.body.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use dunlin_benches::wire::{split, subscribe};

    use super::*;

    #[test]
    fn a_subscribe_is_granted_what_it_asks_for() {
        for (version, expected) in [
            (Version::V3_1_1, &[0x90, 4, 0, 9, 2, 2][..]),
            (Version::V5, &[0x90, 5, 0, 9, 0, 2, 2]),
        ] {
            let filters = ["a".to_owned(), "b/c".to_owned()];
            let packet = subscribe(version, 9, &filters, 2);
            let (frame, _) = split(&packet).unwrap().unwrap();
            let granted = suback(version, frame.body).unwrap();
            assert_eq!(granted, (expected.to_vec(), vec![b"a".to_vec(), b"b/c".to_vec()]));
        }
    }
}
