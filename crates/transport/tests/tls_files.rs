//! The files of a listener's TLS: every form of a key, what is wrong with a file in words, and files that change.
#![cfg(feature = "tls")]

mod pki;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dunlin_transport::tls::{ClientCertificates, Reload, Tls, TlsOptions};
use rcgen::KeyPair;

use pki::{Authority, Client, Files, Listener, Request, options};

const SERVER: &str = "mqtt.example.org";

fn stored_key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

/// A certificate for a key that is kept beside the tests.
fn certified(authority: &Authority, key: &str) -> PathBuf {
    let key = KeyPair::from_pem(&fs::read_to_string(stored_key(key)).expect("a key"));
    let file = authority.path("certified.pem");
    fs::write(&file, authority.sign(&Request::new(SERVER), &key.expect("a key"))).expect("a file");
    file
}

#[tokio::test]
async fn a_key_is_read_in_every_form() {
    let authority = Authority::new();
    for (form, pkcs8) in [
        ("rsa.pkcs8.pem", "rsa.pkcs8.pem"),
        ("rsa.pkcs1.pem", "rsa.pkcs8.pem"),
        ("ec.pkcs8.pem", "ec.pkcs8.pem"),
        ("ec.sec1.pem", "ec.pkcs8.pem"),
    ] {
        let chain = certified(&authority, pkcs8);
        let listener = Listener::new(TlsOptions::new(chain, stored_key(form)));
        let client = Arc::new(authority.client(Client::default()));
        let (opened, client) = listener.meet(&client, SERVER).await;
        opened.expect(form);
        client.expect(form);
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let authority = Authority::new();
    let good = authority.issue(SERVER);
    let other = authority.issue("other.example.org");
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let old = Request { valid_to: now - day / 2, ..Request::new("old.example.org") };
    let old = authority.issue_as(&old, "old");
    let early = Request { valid_from: now + day, ..Request::new("early.example.org") };
    let early = authority.issue_as(&early, "early");
    let file = |name: &str, text: &str| {
        let path = authority.path(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let empty = file("empty.pem", " \n");
    let text = file("notes.txt", "this is no PEM\n");
    let cut = file("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let wrong = file("wrong.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let missing = authority.path("missing.pem");
    let with = |chain: &PathBuf, key: &PathBuf| {
        options(&[&Files { chain: chain.clone(), key: key.clone() }])
    };
    let asking = |authorities: &[&PathBuf], lists: &[&PathBuf]| TlsOptions {
        client_certificates: ClientCertificates::Required,
        client_authorities: authorities.iter().map(|file| (*file).clone()).collect(),
        client_revocations: lists.iter().map(|file| (*file).clone()).collect(),
        ..options(&[&good])
    };
    let name = |file: &PathBuf| file.display().to_string();
    let cases = [
        (
            with(&missing, &good.key),
            format!("{}: cannot be read: No such file or directory (os error 2)", name(&missing)),
        ),
        (with(&empty, &good.key), format!("{}: is empty", name(&empty))),
        (with(&text, &good.key), format!("{}: holds no certificate", name(&text))),
        (with(&good.key, &good.key), format!("{}: holds no certificate", name(&good.key))),
        (with(&cut, &good.key), format!("{}: is no valid PEM: missing section end", name(&cut))),
        (with(&wrong, &good.key), format!("{}: certificate 1 is malformed", name(&wrong))),
        (
            with(&old.chain, &old.key),
            format!(
                "{}: certificate 1 (`CN=old.example.org,O=Acme\\, Inc.,C=DE`) has expired on ",
                name(&old.chain)
            ),
        ),
        (
            with(&early.chain, &early.key),
            format!(
                "{}: certificate 1 (`CN=early.example.org,O=Acme\\, Inc.,C=DE`) is valid from ",
                name(&early.chain)
            ),
        ),
        (with(&good.chain, &empty), format!("{}: is empty", name(&empty))),
        (with(&good.chain, &good.chain), format!("{}: holds no private key", name(&good.chain))),
        (
            with(&good.chain, &stored_key("ec.encrypted.pem")),
            format!(
                "{}: holds an encrypted private key, which cannot be used: store it decrypted",
                name(&stored_key("ec.encrypted.pem"))
            ),
        ),
        (
            with(&good.chain, &other.key),
            format!(
                "{}: the private key does not belong to the certificate in {}",
                name(&other.key),
                name(&good.chain)
            ),
        ),
        (asking(&[], &[]), "client certificates need at least one authority".to_owned()),
        (asking(&[&text], &[]), format!("{}: holds no certificate", name(&text))),
        (
            asking(&[&authority.file], &[&authority.file]),
            format!("{}: holds no certificate revocation list", name(&authority.file)),
        ),
        (
            asking(&[&authority.file], &[&stored_key("version1.crl.pem")]),
            format!(
                "{}: holds a revocation list of X.509 version 1; version 2 is needed",
                name(&stored_key("version1.crl.pem"))
            ),
        ),
        (
            TlsOptions { certificates: Vec::new(), ..options(&[]) },
            "the listener needs at least one certificate".to_owned(),
        ),
    ];
    for (options, expected) in cases {
        let error = Tls::load(options).expect_err(&expected).to_string();
        assert!(error.starts_with(&expected), "{error}\nis not\n{expected}");
    }
}

/// Certificate and key are swapped by one link, as Kubernetes does it, then broken, then mended.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn files_that_change_are_noticed() {
    let authority = Authority::new();
    let install = |version: &str| {
        let folder = authority.path(version);
        fs::create_dir(&folder).expect("a folder");
        authority.issue_as(&Request::new(SERVER), &format!("{version}/server"));
        let link = authority.path("new-link");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        fs::rename(&link, authority.path("current")).expect("one step");
    };
    install("v1");
    let files = Files {
        chain: authority.path("current/server.pem"),
        key: authority.path("current/server.key"),
    };
    let tls = Arc::new(Tls::load(options(&[&files])).expect("good files"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let every = Duration::from_secs(5);
    let watch = {
        let told = Arc::clone(&told);
        Arc::clone(&tls).watch(every, move |reload| {
            let word = match reload {
                Reload::Done => "done".to_owned(),
                Reload::Kept(error) => error.fault.to_string(),
            };
            told.lock().unwrap_or_else(PoisonError::into_inner).push(word);
        })
    };
    let watch = tokio::spawn(watch);
    let mut expected = Vec::new();
    let mut tells = async |word: Option<&str>| {
        // Seen once, and once more as it was.
        tokio::time::sleep(3 * every).await;
        expected.extend(word.map(str::to_owned));
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*told, expected);
    };
    tells(None).await;
    install("v2");
    tells(Some("done")).await;
    tells(None).await;
    fs::write(authority.path("v2/server.key"), "").expect("a file");
    tells(Some("is empty")).await;
    tells(None).await;
    install("v3");
    tells(Some("done")).await;
    fs::remove_file(authority.path("v3/server.pem")).expect("a file");
    tells(Some("cannot be read: No such file or directory (os error 2)")).await;
    tells(None).await;
    watch.abort();
    assert_eq!(tls.expiries().len(), 1);
}
