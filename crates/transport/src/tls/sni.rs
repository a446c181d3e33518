//! Which certificate a client is shown: by the name it asks for, and by what it can verify.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// The name in the ClientHello that this thread took in last. The library tells it to nobody but the resolver, which
    /// belongs to all connections; whoever let the ClientHello be taken in fetches it right after.
    static ASKED_FOR: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name a client asked for, if it was taken in by this thread just now.
pub(super) fn take_asked_for() -> Option<Box<str>> {
    ASKED_FOR.with(|place| place.borrow_mut().take())
}

/// The certificates of a listener.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    certificates: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    names: Vec<Box<str>>,
    certified: Arc<CertifiedKey>,
}

impl Resolver {
    /// Adds one; `names` are in lower case. The first is the default.
    pub(super) fn add(&mut self, names: Vec<Box<str>>, certified: Arc<CertifiedKey>) {
        self.certificates.push(Named { names, certified });
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let usable =
            |named: &&Named| named.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut found = None;
        if let Some(name) = &name {
            let fitting = || self.certificates.iter().filter(|named| named.is_for(name));
            found = fitting().find(usable).or_else(|| fitting().next());
        }
        let found = found
            .or_else(|| self.certificates.iter().find(usable))
            .or_else(|| self.certificates.first());
        ASKED_FOR.with(|place| *place.borrow_mut() = name.map(Into::into));
        found.map(|named| Arc::clone(&named.certified))
    }
}

impl Named {
    fn is_for(&self, asked: &str) -> bool {
        self.names.iter().any(|name| matches(name, asked))
    }
}

/// Whether a name of a certificate is for `asked`. A star stands for one label, the first.
fn matches(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            asked.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
        }
        None => name == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let cases = [
            ("mqtt.example.org", "mqtt.example.org", true),
            ("mqtt.example.org", "example.org", false),
            ("*.example.org", "mqtt.example.org", true),
            ("*.example.org", "a.mqtt.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
        ];
        for (name, asked, expected) in cases {
            assert_eq!(matches(name, asked), expected, "{name} for {asked}");
        }
    }
}
