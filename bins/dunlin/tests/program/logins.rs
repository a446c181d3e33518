//! Tokens and services, from the configuration to who comes in.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::{Folder, Running, dunlin, output, refused};
use crate::user::{connects, login, succeeds};

/// Of the user `alice`, until 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                     eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.\
                     gZMykEFroCiSZGXZasNDtq8mexB2-DMutgMsyt1Mvyc";
const SECRET: &str = "a secret of thirty-two characters";

#[test]
fn a_token_is_taken_by_a_secret_that_is_shown_to_nobody() {
    let folder = Folder::new();
    let config = folder.at("dunlin.toml");
    fs::write(&config, "[auth.tokens]\nkind = \"jwt\"\nsecret = \"${TOKEN_SECRET}\"\n").unwrap();
    let with_secret = |arguments: &[&str]| {
        let mut command = dunlin(arguments);
        command.env("TOKEN_SECRET", SECRET);
        command
    };
    let arguments = ["check", "--config", &config, "--listen", "127.0.0.1:0"];
    let checked = succeeds(&with_secret(&arguments).output().unwrap());
    assert!(checked.contains("would know clients by tokens\n"), "{checked}");
    let shown = succeeds(&with_secret(&["config", "--config", &config]).output().unwrap());
    assert!(shown.contains("secret = \"${TOKEN_SECRET}\"\n") && !shown.contains(SECRET), "{shown}");

    let running =
        Running::start(&mut with_secret(&["--config", &config, "--listen", "127.0.0.1:0"]));
    let forged = format!("{}A", &TOKEN[..TOKEN.len() - 1]);
    let codes =
        [TOKEN, &forged, "a password"].map(|shown| connects(running.address, "anybody", shown));
    assert_eq!(codes, [0, 4, 4]);
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("token_refused") && !log.contains(SECRET), "{log}");
    for part in TOKEN.split('.') {
        assert!(!log.contains(part), "{log}");
    }
    // A secret that stands in the file itself is not written again either.
    fs::write(&config, format!("[auth.jwt]\nsecret = \"{SECRET}\"\n")).unwrap();
    let shown = succeeds(&output(&["config", "--config", &config]));
    assert!(shown.contains("secret = \"(redacted)\"\n") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn other_sections_hold_for_who_logs_in_next_and_nobody_else() {
    let folder = Folder::new();
    let file = |name: &str, user: &str, password: &str| {
        let (users, secret) = (folder.at(name), folder.at("password"));
        fs::write(&secret, password).unwrap();
        succeeds(&output(&["user", "add", user, "--file", &users, "--password-file", &secret]));
        users
    };
    let (first, second) = (file("first", "alice", "one"), file("second", "bob", "two"));
    let (config, data) = (folder.at("dunlin.toml"), folder.at("data"));
    let listener = "[listeners.lan]\naddress = '127.0.0.1:0'\n";
    let one = format!("[auth.file]\npath = {first:?}\n{listener}");
    fs::write(&config, &one).unwrap();
    let arguments = ["--config", &config, "--data-dir", &data];
    let mut running = Running::start(&mut dunlin(&arguments));
    let address = running.address;
    let codes = || [("alice", "one"), ("bob", "two")].map(|(user, is)| connects(address, user, is));
    let (mut alice, code) = login(address, "stays", "alice", "one");
    assert_eq!(code, 0);
    let pings = |client: &mut std::net::TcpStream| {
        client.write_all(&[0xC0, 0]).unwrap();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xD0, 0]);
    };

    let both = format!(
        "[auth.second]\nkind = 'file'\npath = {second:?}\n[auth.file]\npath = {second:?}\n[logins]\n\
         user_failures_max = 3\n{listener}"
    );
    fs::write(&config, &both).unwrap();
    let said = succeeds(&output(&["check", "--diff", "--config", &config, "--data-dir", &data]));
    let (_, said) = said.split_once("the running broker would:\n").unwrap();
    assert_eq!(
        said,
        "logins.user_failures_max: 10 -> 3 (for connections that begin afterwards)\n\
         [auth.second]: added (for connections that begin afterwards)\n\
         [auth.file]: changed (for connections that begin afterwards)\n"
    );
    running.signal("HUP");
    running.wait_for_log("reloaded");
    assert_eq!(codes(), [4, 0]);
    pings(&mut alice);

    // What is wrong changes nothing, and says so.
    fs::write(&config, format!("[auth.file]\npath = '{}'\n{listener}", folder.at("none"))).unwrap();
    running.signal("HUP");
    running.wait_for_log("reload_refused");
    assert_eq!(codes(), [4, 0]);
    fs::write(&config, listener).unwrap();
    running.signal("HUP");
    running.wait_for_log("reloaded");
    // Nobody is asked any more, and what a client says of itself does not matter.
    assert_eq!(codes(), [0, 0]);
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_service_is_asked_and_its_word_counts() {
    let service = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/login", service.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in service.incoming() {
            let Ok(mut socket) = socket else { return };
            // The question is an object behind a head.
            let mut question = Vec::new();
            while !question.ends_with(b"}") {
                let mut some = [0; 4_096];
                let Ok(count @ 1..) = socket.read(&mut some) else { return };
                question.extend_from_slice(&some[..count]);
            }
            let known = String::from_utf8_lossy(&question).contains("\"alice\"");
            let answer = if known { r#"{"result":"accept"}"# } else { r#"{"result":"refuse"}"# };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 19\r\n\r\n";
            let _ = socket.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    let folder = Folder::new();
    let config = folder.at("dunlin.toml");
    fs::write(&config, format!("[auth.http]\nurl = {url:?}\n")).unwrap();
    let running = Running::start(&mut dunlin(&["--config", &config, "--listen", "127.0.0.1:0"]));
    let codes = ["alice", "bob"].map(|user| connects(running.address, user, "x"));
    assert_eq!(codes, [0, 4]);
}

#[test]
fn slips_about_tokens_and_services_are_answered() {
    let folder = Folder::new();
    let config = folder.at("dunlin.toml");
    let cases = [
        (
            "[auth.jwt]\nmethod = \"JWT\"",
            "says no key: `key_files`, `secret` and `jwks_url` each give some",
        ),
        (
            "[auth.jwt]\nsecret = \"short\"",
            "cannot use the secret (redacted): the secret is shorter than the 32 bytes that its algorithm asks for \
             (RFC 7518, section 3.2)",
        ),
        (
            "[auth.jwt]\njwks_url = \"http://issuer.example/keys\"",
            "cannot use `jwks_url`: http://issuer.example/keys is asked without TLS: keys that can be changed on their \
             way prove nothing",
        ),
        (
            "[auth.jwt]\nkey_files = [\"/nowhere\"]",
            "cannot use the keys of /nowhere: No such file or directory (os error 2)",
        ),
        ("[auth.http]\ntimeout = \"1s\"", "says no `url`: the service's address"),
        (
            "[auth.http]\nurl = \"https://me:secret@auth.example/\"",
            "cannot use `url`: it holds a user name; credentials belong in a header, whose value can be a secret",
        ),
    ];
    for (text, message) in cases {
        fs::write(&config, text).unwrap();
        let section = if text.starts_with("[auth.jwt]") { "jwt" } else { "http" };
        refused(&["check", "--config", &config], 3, &format!("[auth.{section}]: {message}"));
    }
}
