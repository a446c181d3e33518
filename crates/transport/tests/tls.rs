//! TLS as clients meet it: versions, names, certificates of both sides, tickets, and what is refused with which reason.
#![cfg(feature = "tls")]

mod pki;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dunlin_transport::tls::{
    CertificateFiles, ClientCertificates, Protocols, Tls, TlsOptions, TlsVersion,
};
use dunlin_transport::{Certificate, Opened, Refusal, Refused, TlsFacts, Transport};
use rcgen::SanType;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use pki::{Authority, Client, Listener, Request, options};

const SERVER: &str = "mqtt.example.org";

fn facts(opened: &Opened) -> TlsFacts {
    opened.peer.details.as_ref().and_then(|details| details.tls.clone()).expect("TLS was spoken")
}

fn why(refused: Result<Opened, Refused>) -> Refusal {
    refused.expect_err("it is refused").why
}

/// Sends a word each way.
async fn talk(opened: &mut Opened, client: &mut TlsStream<TcpStream>) {
    client.write_all(b"ping").await.expect("the session stands");
    let mut word = [0; 16];
    assert_eq!(opened.stream.read(&mut word).await.expect("the session stands"), 4);
    assert_eq!(&word[..4], b"ping");
    opened.stream.write_all(b"pong").await.expect("the session stands");
    client.read_exact(&mut word[..4]).await.expect("the session stands");
    assert_eq!(&word[..4], b"pong");
}

/// Reads until the other side ends it: the way a client of TLS 1.3 learns that it was refused, because it is done first.
async fn drain(mut client: TlsStream<TcpStream>) -> std::io::Result<usize> {
    client.read_to_end(&mut Vec::new()).await
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_oldest_can_be_chosen() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    for (minimum, version, expected) in [
        (TlsVersion::Tls12, &TLS12, Some("TLSv1.2")),
        (TlsVersion::Tls12, &TLS13, Some("TLSv1.3")),
        (TlsVersion::Tls13, &TLS13, Some("TLSv1.3")),
        (TlsVersion::Tls13, &TLS12, None),
    ] {
        let listener = Listener::new(TlsOptions { minimum, ..options(&[&server]) });
        let versions = &[version];
        let client = Arc::new(authority.client(Client { versions, ..Client::default() }));
        let (opened, client) = listener.meet(&client, SERVER).await;
        match expected {
            Some(expected) => {
                let mut opened = opened.expect("a common version");
                assert_eq!(facts(&opened).version, expected);
                talk(&mut opened, &mut client.expect("a common version")).await;
            }
            None => {
                assert_eq!(why(opened), Refusal::TlsVersion);
                let error = client.expect_err("no common version").to_string();
                assert!(error.contains("ProtocolVersion"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_agreed_on_is_known() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    let listener = Listener::new(options(&[&server]));
    let client = authority.client(Client { alpn: &["mqtt"], ..Client::default() });
    let (opened, _client) = listener.meet(&Arc::new(client), SERVER).await;
    let opened = opened.expect("a good client");
    assert_eq!(opened.peer.transport, Transport::Tls);
    let expected = TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS_AES_256_GCM_SHA384",
        server_name: Some(SERVER.into()),
        alpn: Some("mqtt".into()),
        resumed: false,
    };
    assert_eq!(facts(&opened), expected);
    assert_eq!(opened.peer.certificate(), None);
    assert_eq!(opened.received, Vec::<u8>::new());
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let authority = Authority::new();
    let first = authority.issue("first.example.org");
    let star = Request {
        names: vec![SanType::DnsName("*.second.example.org".try_into().expect("a name"))],
        ..Request::new("second")
    };
    let second = authority.issue_as(&star, "second");
    let listener = Listener::new(options(&[&first, &second]));
    let client = Arc::new(authority.client(Client::default()));
    for (name, expected) in [
        ("first.example.org", Some(&first)),
        ("FIRST.example.org", Some(&first)),
        ("a.second.example.org", Some(&second)),
        // The default is shown, and its name is another one.
        ("third.example.org", None),
    ] {
        let (opened, client) = listener.meet(&client, name).await;
        match expected {
            Some(expected) => {
                let client = client.expect("a certificate for it");
                let shown = client.get_ref().1.peer_certificates().expect("one was shown");
                assert_eq!(shown, pki::chain(&expected.chain), "{name}");
                let asked_for = facts(&opened.expect("a good client")).server_name;
                assert_eq!(asked_for, Some(name.to_ascii_lowercase().into()));
            }
            None => {
                client.expect_err("no certificate for it");
                let refused = opened.expect_err("the client ended it");
                assert_eq!(refused.why, Refusal::TlsAlert, "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn protocols_are_agreed_on_by_name_or_not_at_all() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    type Agreed = Result<Option<&'static str>, Refusal>;
    let cases: [(Protocols, &[&str], Agreed); 7] = [
        (Protocols::Mqtt, &[], Ok(None)),
        (Protocols::Mqtt, &["mqtt"], Ok(Some("mqtt"))),
        (Protocols::Mqtt, &["http/1.1"], Err(Refusal::TlsAlpn)),
        (Protocols::WebSocket, &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (Protocols::WebSocket, &["mqtt"], Err(Refusal::TlsAlpn)),
        (Protocols::Both, &["http/1.1"], Ok(Some("http/1.1"))),
        (Protocols::Both, &["mqtt", "http/1.1"], Ok(Some("mqtt"))),
    ];
    for (protocols, alpn, expected) in cases {
        let listener = Listener::new(TlsOptions { protocols, ..options(&[&server]) });
        let client = authority.client(Client { alpn, ..Client::default() });
        let (opened, _client) = listener.meet(&Arc::new(client), SERVER).await;
        let found = opened.map(|opened| facts(&opened).alpn).map_err(|refused| refused.why);
        assert_eq!(found, expected.map(|name| name.map(Into::into)), "{protocols:?} {alpn:?}");
    }
}

#[tokio::test]
async fn clients_prove_who_they_are_if_they_are_asked() {
    let authority = Authority::new();
    let other = Authority::named("Another authority");
    let namesake = Authority::new();
    let server = authority.issue(SERVER);
    let now = SystemTime::now();
    let hour = Duration::from_secs(60 * 60);
    let past = Request { valid_to: now - hour, ..Request::new("expired") };
    let future = Request { valid_from: now + hour, ..Request::new("early") };
    let revoked = Request { serial: 99, ..Request::new("revoked") };
    let good = authority.issue("device-1");
    let expired = authority.issue_as(&past, "expired");
    let early = authority.issue_as(&future, "early");
    let revoked = authority.issue_as(&revoked, "revoked");
    let foreign = other.issue("foreign");
    let false_friend = namesake.issue("namesake");
    let list = authority.revoke(&[99], "revoked.crl");

    let of = |wanted| TlsOptions {
        client_certificates: wanted,
        client_authorities: vec![authority.file.clone()],
        client_revocations: vec![list.clone()],
        ..options(&[&server])
    };
    type Outcome = Result<Option<&'static str>, Refusal>;
    let cases: [(&str, Option<&CertificateFiles>, [Outcome; 3]); 7] = [
        ("none", None, [Ok(None), Ok(None), Err(Refusal::CertificateMissing)]),
        ("good", Some(&good), [Ok(None), Ok(Some("device-1")), Ok(Some("device-1"))]),
        ("expired", Some(&expired), refused(Refusal::CertificateExpired)),
        ("early", Some(&early), refused(Refusal::CertificateNotYetValid)),
        ("revoked", Some(&revoked), refused(Refusal::CertificateRevoked)),
        ("foreign", Some(&foreign), refused(Refusal::CertificateUnknownIssuer)),
        // Of an authority that has the same name and another key.
        ("namesake", Some(&false_friend), refused(Refusal::CertificateUnknownIssuer)),
    ];
    // Off, nobody is asked, so that nothing can be wrong with what is not shown.
    const fn refused(why: Refusal) -> [Outcome; 3] {
        [Ok(None), Err(why), Err(why)]
    }
    let kinds =
        [ClientCertificates::Off, ClientCertificates::Optional, ClientCertificates::Required];
    for (position, wanted) in kinds.into_iter().enumerate() {
        let listener = Listener::new(of(wanted));
        for version in [&TLS12, &TLS13] {
            for (case, certificate, expected) in &cases {
                let versions = &[version];
                let client = Client { versions, certificate: *certificate, ..Client::default() };
                let client = Arc::new(authority.client(client));
                let (opened, client) = listener.meet(&client, SERVER).await;
                let found = match &opened {
                    Ok(opened) => Ok(opened.peer.certificate().and_then(name_of)),
                    Err(refused) => Err(refused.why),
                };
                assert_eq!(found, expected[position], "{wanted:?} {version:?} {case}");
                if found.is_err() {
                    // It is told by an alert, however late it learns of it.
                    let told = match client {
                        Ok(client) => drain(client).await.expect_err("an alert").to_string(),
                        Err(error) => error.to_string(),
                    };
                    assert!(told.contains("received fatal alert"), "{case}: {told}");
                }
            }
        }
    }
}

fn name_of(certificate: &Certificate) -> Option<&'static str> {
    (certificate.common_name.as_deref() == Some("device-1")).then_some("device-1")
}

#[tokio::test]
async fn a_certificate_tells_who_holds_it() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    let request = Request {
        names: vec![
            SanType::DnsName("device-1.example.org".try_into().expect("a name")),
            SanType::URI("urn:device:1".try_into().expect("a name")),
            SanType::Rfc822Name("one@example.org".try_into().expect("a name")),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ],
        serial: 0x0a0b_0c0d,
        ..Request::new("device-1")
    };
    let device = authority.issue_as(&request, "device-1");
    let listener = Listener::new(TlsOptions {
        client_certificates: ClientCertificates::Required,
        client_authorities: vec![authority.file.clone()],
        ..options(&[&server])
    });
    let client = authority.client(Client { certificate: Some(&device), ..Client::default() });
    let (opened, _client) = listener.meet(&Arc::new(client), SERVER).await;
    let opened = opened.expect("a good client");
    let der = pki::chain(&device.chain);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(
        rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("a suite")
            .common
            .hash_provider
            .hash(&der[0])
            .as_ref(),
    );
    let expected = Certificate {
        common_name: Some("device-1".into()),
        distinguished_name: "CN=device-1,O=Acme\\, Inc.,C=DE".into(),
        dns_names: vec!["device-1.example.org".into()],
        uris: vec!["urn:device:1".into()],
        emails: vec!["one@example.org".into()],
        serial: "0a0b0c0d".into(),
        fingerprint,
    };
    assert_eq!(opened.peer.certificate(), Some(&expected));
}

/// One connection after another of the same client, and whether each was a resumption, as both sides say.
async fn come_back(listener: &Listener, client: &Arc<ClientConfig>, times: usize) -> Vec<bool> {
    let mut resumed = Vec::new();
    for _ in 0..times {
        let (opened, stream) = listener.meet(client, SERVER).await;
        let (mut opened, mut stream) = (opened.expect("good"), stream.expect("good"));
        // With the first data the client has its ticket.
        talk(&mut opened, &mut stream).await;
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(facts(&opened).resumed, kind == Some(HandshakeKind::Resumed));
        resumed.push(facts(&opened).resumed);
    }
    resumed
}

#[tokio::test]
async fn a_ticket_shortens_the_way_back() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    for version in [&TLS12, &TLS13] {
        for tickets in [true, false] {
            let listener = Listener::new(TlsOptions { tickets, ..options(&[&server]) });
            let versions = &[version];
            let client = Arc::new(authority.client(Client { versions, ..Client::default() }));
            let resumed = come_back(&listener, &client, 3).await;
            assert_eq!(resumed, [false, tickets, tickets], "{version:?}");
            // What was issued before is good after a reload too.
            listener.door.tls.as_ref().expect("TLS").reload().expect("good files");
            assert_eq!(come_back(&listener, &client, 1).await, [tickets], "{version:?}");
        }
    }
}

/// A ticket carries the certificate that was good when it was issued. A device that is lost must not come back by it.
#[tokio::test]
async fn a_ticket_does_not_outlive_the_certificate_it_was_issued_for() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    let device = authority.issue("device-1");
    let list = authority.revoke(&[1], "revoked.crl");
    for version in [&TLS12, &TLS13] {
        authority.revoke(&[1], "revoked.crl");
        let listener = Listener::new(TlsOptions {
            client_certificates: ClientCertificates::Required,
            client_authorities: vec![authority.file.clone()],
            client_revocations: vec![list.clone()],
            ..options(&[&server])
        });
        let versions = &[version];
        let client = Client { versions, certificate: Some(&device), ..Client::default() };
        let client = Arc::new(authority.client(client));
        assert_eq!(come_back(&listener, &client, 2).await, [false, true]);
        authority.revoke(&[0x1234_5678], "revoked.crl");
        listener.door.tls.as_ref().expect("TLS").reload().expect("good files");
        let (opened, _client) = listener.meet(&client, SERVER).await;
        assert_eq!(why(opened), Refusal::CertificateRevoked, "{version:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_named() {
    let authority = Authority::new();
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    let cases: [(&[u8], Refusal, &str); 7] = [
        (b"\x10\x0c\0\x04MQTT\x04\x02\0<\0\0", Refusal::PlainOnTls, "they are MQTT"),
        (b"GET /mqtt HTTP/1.1\r\n", Refusal::PlainOnTls, "they are HTTP"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Refusal::ProxyUnexpected, ""),
        (b"\0\0\0\0", Refusal::PlainOnTls, "they belong to no protocol that is known here"),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\0", Refusal::TlsError, ""),
        (b"\x16\x03\x01\xff\xff\x01\0\0\x01\0", Refusal::TlsError, ""),
        (b"\x16", Refusal::Closed, ""),
    ];
    for (bytes, expected, detail) in cases {
        let client = async {
            let mut socket = TcpStream::connect(listener.address).await.expect("a listener");
            socket.write_all(bytes).await.expect("it is taken");
            socket.shutdown().await.expect("it is taken");
            // An alert, if it had come far enough to have one.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        let (opened, ()) = tokio::join!(listener.open(), client);
        let refused = opened.expect_err("no TLS");
        assert_eq!(refused.why, expected, "{}: {refused}", bytes.escape_ascii());
        if !detail.is_empty() {
            assert_eq!(&*refused.detail, detail);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends_at_its_deadline() {
    let authority = Authority::new();
    let mut listener = Listener::new(options(&[&authority.issue(SERVER)]));
    listener.door.deadline = Duration::from_secs(7);
    let mut socket = TcpStream::connect(listener.address).await.expect("a listener");
    socket.write_all(b"\x16\x03\x01\x01\0").await.expect("it is taken");
    let started = tokio::time::Instant::now();
    let refused = listener.open().await.expect_err("it never comes");
    assert_eq!(refused.why, Refusal::HandshakeTimeout);
    assert_eq!(refused.address, socket.local_addr().ok());
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_says_so() {
    let authority = Authority::new();
    let stranger = Authority::named("Another authority");
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    let client = Arc::new(stranger.client(Client::default()));
    let (opened, client) = listener.meet(&client, SERVER).await;
    client.expect_err("an unknown authority");
    let refused = opened.expect_err("the client ended it");
    assert_eq!(refused.why, Refusal::TlsAlert);
    assert_eq!(refused.to_string(), "the client ended the TLS handshake with an alert: UnknownCA");
}

#[tokio::test]
async fn who_is_in_stays_when_the_certificate_changes() {
    let authority = Authority::new();
    let server = authority.issue(SERVER);
    let listener = Listener::new(options(&[&server]));
    let tls = Arc::clone(listener.door.tls.as_ref().expect("TLS"));
    let client = Arc::new(authority.client(Client::default()));
    let shown = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).expect("one was shown")
    };
    let before = pki::chain(&server.chain);
    let (opened, stream) = listener.meet(&client, SERVER).await;
    let (mut opened, mut stream) = (opened.expect("good"), stream.expect("good"));
    assert_eq!(shown(&stream), before);

    // Broken: what was there is used on.
    fs::write(&server.key, "").expect("a file");
    let error = tls.reload().expect_err("an empty key");
    assert_eq!(error.to_string(), format!("{}: is empty", server.key.display()));
    let fresh = Arc::new(authority.client(Client::default()));
    let (_opened, still) = listener.meet(&fresh, SERVER).await;
    assert_eq!(shown(&still.expect("good")), before);

    // Good again: whoever comes from now on is shown the new one.
    let again = authority.issue(SERVER);
    assert_eq!(again, server, "the same files");
    tls.reload().expect("good files");
    let fresh = Arc::new(authority.client(Client::default()));
    let (_opened, new) = listener.meet(&fresh, SERVER).await;
    let new = shown(&new.expect("good"));
    assert_ne!(new, before);
    assert_eq!(new, pki::chain(&again.chain));
    talk(&mut opened, &mut stream).await;
}

#[tokio::test]
async fn an_expiry_is_counted_in_days() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let request = Request {
        valid_to: now + Duration::from_secs(10 * 24 * 60 * 60 + 60),
        ..Request::new(SERVER)
    };
    let server = authority.issue_as(&request, "server");
    let tls = Tls::load(options(&[&server])).expect("good files");
    let expiries = tls.expiries();
    assert_eq!(expiries.len(), 1);
    assert_eq!(expiries[0].file, server.chain);
    assert_eq!(&*expiries[0].subject, "CN=mqtt.example.org,O=Acme\\, Inc.,C=DE");
    let days = |days: u64| now + Duration::from_secs(days * 24 * 60 * 60);
    assert_eq!(expiries[0].days_left(now), 10);
    assert_eq!(expiries[0].days_left(days(10)), 0);
    assert_eq!(expiries[0].days_left(days(11)), -1);
    assert_eq!(expiries[0].days_left(days(12)), -2);
}
