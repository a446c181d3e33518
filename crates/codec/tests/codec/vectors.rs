//! Packets from other projects' tests, with the verdict of the standard: see `data/vectors.txt`.

use bytes::Bytes;
use dunlin_codec::{DecodeLimits, Version};

use crate::support::{decode_any, encode, unhex};

struct Vector<'a> {
    id: &'a str,
    versions: Vec<Version>,
    verdict: &'a str,
    bytes: Vec<u8>,
}

fn vectors() -> impl Iterator<Item = Vector<'static>> {
    include_str!("../data/vectors.txt").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<_> = line.split(" | ").map(str::trim).collect();
        let &[id, versions, theirs, verdict, bytes, name] = &columns[..] else {
            panic!("not six columns: {line}")
        };
        let differs = (theirs == "ok") != (verdict == "ok");
        assert_eq!(differs, name.contains(" -- "), "{id}: say why the verdicts differ");
        let versions = versions.split(' ').map(version).collect();
        Vector { id, versions, verdict, bytes: unhex(bytes) }
    })
}

fn version(name: &str) -> Version {
    Version::ALL.into_iter().find(|version| version.to_string() == name).expect("a version")
}

#[test]
fn verdicts_hold() {
    for Vector { id, versions, verdict, bytes } in vectors() {
        for version in versions {
            match decode_any(&bytes, version, &DecodeLimits::default()) {
                Ok(Some((_, len))) => {
                    assert_eq!((verdict, len), ("ok", bytes.len()), "{id} of {version}");
                }
                Ok(None) => panic!("{id} of {version}: incomplete"),
                Err(error) => assert_eq!(verdict, error.spec(), "{id} of {version}"),
            }
        }
    }
}

/// What was decoded can be written, and is then the same packet again.
#[test]
fn accepted_vectors_come_round() {
    let limits = DecodeLimits::default();
    for Vector { id, versions, bytes, .. } in vectors().filter(|vector| vector.verdict == "ok") {
        for version in versions {
            let frame = Bytes::from(bytes.clone());
            let (packet, _) = decode_any(&frame, version, &limits).unwrap().unwrap();
            let packet = packet.to_owned_in(&frame);
            let again = Bytes::from(encode(&packet, version));
            let (decoded, len) = decode_any(&again, version, &limits).unwrap().unwrap();
            assert_eq!(len, again.len(), "{id} of {version}");
            assert_eq!(decoded.to_owned_in(&again), packet, "{id} of {version}");
            assert!(again.len() <= bytes.len(), "{id} of {version}: grew");
        }
    }
}
