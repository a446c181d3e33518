//! Files of users and hashes, as administrators and databases have them.
//!
//! Hashes are read and written, and not computed: that is what they make slow.

#![no_main]

use std::path::Path;

use dunlin_auth::{PasswordHash, ROLES_MAX, Scratch, Users};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(users) = Users::parse(Path::new("users"), input) {
        let written = users.text();
        let again = Users::parse(Path::new("users"), written.as_bytes());
        let again = again.expect("what is written reads back");
        // Nothing but ends of lines may be lost.
        let without_ends = |text: String| text.replace(['\r', '\n'], "");
        assert_eq!(without_ends(again.text()), without_ends(written));
        assert!(users.iter().eq(again.iter()), "and means the same users");
        for user in users.iter() {
            assert!(!user.name().is_empty() && user.roles.len() <= ROLES_MAX);
            assert_eq!(users.user(user.name()), Some(user));
            hash(&user.password);
        }
    }
    if let Some(read) = std::str::from_utf8(input).ok().and_then(|text| text.parse().ok()) {
        hash(&read);
    }
});

fn hash(hash: &PasswordHash) {
    let written = hash.to_string();
    assert_eq!(written.parse::<PasswordHash>().as_ref(), Ok(hash), "{written}");
    assert!(hash.is_locked() == (written == "*"));
    if hash.is_locked() {
        assert!(!hash.verify(b"*", &mut Scratch::default()));
    } else if hash.is_weak() {
        // One SHA-512, which costs nothing. A hash of this password is not found by chance.
        assert!(!hash.verify(b"correct horse", &mut Scratch::default()));
    }
}
