//! The file of security and administrative events, line by line.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use crate::support::{Folder, Running, dunlin, output};
use crate::user::{connects, login, succeeds};

/// Makes a file of users with one user, whose password is `secret`.
fn users(folder: &Folder) -> String {
    let (users, password) = (folder.at("users"), folder.at("password"));
    fs::write(&password, "secret\n").unwrap();
    let add = ["user", "add", "alice", "--file", &users, "--password-file", &password];
    succeeds(&output(&add));
    users
}

/// The lines without their time, and with what differs from run to run left out.
fn lines(path: &str) -> Vec<String> {
    let plain = |line: &str| {
        let rest = line.strip_prefix(r#"{"timestamp":""#).and_then(|rest| rest.split_once(r#"","#));
        let (time, rest) = rest.unwrap_or_else(|| panic!("no time in {line}"));
        assert!(time.ends_with('Z') && time.len() == 27, "{time}");
        let mut rest = rest.to_owned();
        for key in ["\"address\":\"127.0.0.1:", "\"millis\":"] {
            if let Some(at) = rest.find(key) {
                let start = at + key.len();
                let digits = rest[start..].find(|letter: char| !letter.is_ascii_digit()).unwrap();
                rest.replace_range(start..start + digits, "0");
            }
        }
        rest
    };
    fs::read_to_string(path).unwrap().lines().map(plain).collect()
}

fn wait_for(path: &str, event: &str) {
    for _ in 0..1_000 {
        if fs::read_to_string(path).is_ok_and(|text| text.contains(event)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{event} does not come into {path}");
}

#[test]
fn each_event_is_one_line_and_a_moved_file_is_opened_anew() {
    let folder = Folder::new();
    let (users, audit, config) = (users(&folder), folder.at("audit"), folder.at("dunlin.toml"));
    let acl = folder.at("acl.toml");
    fs::write(&acl, "[authenticated]\nsubscribe = [\"a\"]\n").unwrap();
    let text = format!(
        "[auth.file]\npath = {users:?}\nwatch_interval = '10ms'\n[audit]\nfile = {audit:?}\n\
         [access]\nfile = {acl:?}\n[listeners.lan]\naddress = '127.0.0.1:0'\n"
    );
    fs::write(&config, &text).unwrap();
    let mut running = Running::start(&mut dunlin(&["--config", &config]));
    let address = running.address;
    assert_eq!(connects(address, "alice", "secret"), 0);
    assert_eq!(connects(address, "alice", "wrong"), 4);
    assert_eq!(connects(address, "{\"event\":\"login\"}", "x"), 4);

    // A file that was moved away is opened anew, also if the configuration is not good.
    let moved = folder.at("audit.1");
    wait_for(&audit, "{\\\"event");
    fs::rename(&audit, &moved).unwrap();
    fs::write(&config, "[limits]\nreceive_maximum = 'many'\n").unwrap();
    running.signal("HUP");
    running.wait_for_log("reload_refused");
    wait_for(&audit, "reload_refused");

    fs::write(&acl, "[authenticated]\nsubscribe = [\"a\", \"b\"]\n").unwrap();
    let second = "[listeners.second]\naddress = '127.0.0.1:0'\n[limits]\nsubscriptions_max = 7\n";
    fs::write(&config, format!("{text}{second}")).unwrap();
    running.signal("HUP");
    running.next_listener();
    fs::write(&config, &text).unwrap();
    running.signal("HUP");
    running.wait_for_log("listener_removed");
    running.wait_for_log("reloaded");
    fs::write(&users, "").unwrap();
    wait_for(&audit, "users_reloaded");
    fs::write(&users, "nonsense\n").unwrap();
    wait_for(&audit, "users_not_reloaded");
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");

    let port = address.port();
    let client = |name: &str, user: &str| {
        format!(r#""listener":"lan","address":"127.0.0.1:0","client_id":"s","{name}":"{user}""#)
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        lines(&moved),
        [
            format!(
                r#""level":"INFO","event":"broker_started","version":"{version}","listeners":"[(\"lan\", Address(127.0.0.1:{port}))]"}}"#
            ),
            format!(
                r#""level":"INFO","message":"a client came in","event":"login",{},"by":"file","again":false}}"#,
                client("user", "alice")
            ),
            format!(
                r#""level":"WARN","message":"a client was refused","event":"login_refused",{},"by":"file","again":false,"reason":"bad user name or password"}}"#,
                client("user_name", "alice")
            ),
            format!(
                r#""level":"WARN","message":"a client was refused","event":"login_refused",{},"by":"","again":false,"reason":"bad user name or password"}}"#,
                client("user_name", r#"{\"event\":\"login\"}"#)
            ),
        ]
    );
    assert_eq!(
        lines(&audit),
        [
            format!(
                r#""level":"ERROR","message":"dunlin: {config}:2: `limits.receive_maximum` must be a whole number from 0 to 65535, not `many`: nothing has changed","event":"reload_refused"}}"#
            ),
            r#""level":"INFO","message":"the listener is open","event":"listener_added","listener":"second"}"#.to_owned(),
            r#""level":"INFO","message":"other rules are in force","event":"rules_changed","rules":2}"#.to_owned(),
            r#""level":"INFO","message":"the configuration is in use","event":"reloaded","settings":1,"listeners":1,"auth_sections":0,"rules":true}"#.to_owned(),
            r#""level":"INFO","message":"the listener is closed and its clients are disconnected","event":"listener_removed","listener":"second","connections":0,"clients":0}"#.to_owned(),
            r#""level":"INFO","message":"the configuration is in use","event":"reloaded","settings":1,"listeners":1,"auth_sections":0,"rules":false}"#.to_owned(),
            format!(
                r#""level":"INFO","message":"the file of users has changed","event":"users_reloaded","path":"{users}","users":0}}"#
            ),
            format!(
                r#""level":"ERROR","message":"the users stay as they were","event":"users_not_reloaded","path":"{users}","error":"{users}:1: must be NAME:HASH"}}"#
            ),
            r#""level":"INFO","event":"broker_stopping","signal":"SIGTERM"}"#.to_owned(),
            r#""level":"INFO","event":"broker_stopped","millis":0}"#.to_owned(),
        ]
    );
    // Administrative events stand in the log too, the others do not.
    assert!(log.contains("users_not_reloaded") && !log.contains("login"), "{log}");
}

#[test]
fn what_is_not_allowed_is_a_line_that_says_who_what_and_which_rule() {
    let folder = Folder::new();
    let (users, audit, config) = (users(&folder), folder.at("audit"), folder.at("dunlin.toml"));
    let acl = folder.at("acl.toml");
    fs::write(
        &acl,
        "[authenticated]\npublish = [\"#\"]\n[users.alice]\ndeny_publish = [\"{username}/b\"]\n",
    )
    .unwrap();
    let text = format!(
        "[auth.file]\npath = {users:?}\n[audit]\nfile = {audit:?}\n\
         [access]\nfile = {acl:?}\n[listeners.lan]\naddress = '127.0.0.1:0'\n"
    );
    fs::write(&config, &text).unwrap();
    let running = Running::start(&mut dunlin(&["--config", &config]));
    let (mut stream, code) = login(running.address, "s", "alice", "secret");
    assert_eq!(code, 0);
    // PUBLISH with QoS 0 to alice/b, and SUBSCRIBE to a.
    stream.write_all(b"\x30\x0a\x00\x07alice/bx").unwrap();
    stream.write_all(b"\x82\x06\x00\x01\x00\x01a\x00").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"\x90\x03\x00\x01\x80");
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    let refused: Vec<String> =
        lines(&audit).into_iter().filter(|line| line.contains("access_refused")).collect();
    let line = |rest: String| {
        format!(
            r#""level":"WARN","message":"not allowed","event":"access_refused","tenant":"default","user":"alice","client_id":"s",{rest},"left_out":0}}"#
        )
    };
    let denied = format!(
        r#""action":"publish","topic":"alice/b","reason":"a rule denies it","rule":"{acl}:4: user alice: deny publish {{username}}/b""#
    );
    let not_allowed = r#""action":"subscribe","topic":"a","reason":"no rule allows it""#.to_owned();
    assert_eq!(refused, [line(denied), line(not_allowed)]);
}

#[test]
fn a_backup_beside_the_broker_has_its_line() {
    let folder = Folder::new();
    let (audit, config) = (folder.at("audit"), folder.at("dunlin.toml"));
    let (data, copy) = (folder.at("data"), folder.at("copy"));
    fs::write(&config, format!("data_dir = {data:?}\n[audit]\nfile = {audit:?}\n")).unwrap();
    let arguments = ["--config", &config, "--listen", "127.0.0.1:0", "--data-dir", &data];
    let running = Running::start(&mut dunlin(&arguments));
    succeeds(&output(&["store", "backup", &copy, "--config", &config, "--data-dir", &data]));
    running.kill();
    let backup = format!(
        r#""level":"INFO","message":"the store was copied","event":"store_backup","from":"{data}","to":"{copy}"}}"#
    );
    assert_eq!(lines(&audit).get(1..), Some(&[backup][..]));
}

#[test]
fn a_file_that_takes_nothing_is_one_error_and_a_number() {
    let folder = Folder::new();
    let (users, config) = (users(&folder), folder.at("dunlin.toml"));
    let text = |file: &str| {
        format!(
            "[auth.file]\npath = {users:?}\n[audit]\nfile = {file:?}\n[sys]\ninterval = '100ms'\n\
             [listeners.lan]\naddress = '127.0.0.1:0'\n"
        )
    };
    fs::write(&config, text("/dev/full")).unwrap();
    let mut running = Running::start(&mut dunlin(&["--config", &config]));
    running.wait_for_log("audit_not_written");
    for _ in 0..5 {
        assert_eq!(connects(running.address, "alice", "secret"), 0);
    }
    // Another file takes the rest, and says what is lost of the start and five logins.
    let audit = folder.at("audit");
    fs::write(&config, text(&audit)).unwrap();
    running.signal("HUP");
    wait_for(&audit, "reloaded");
    // One that cannot be opened is refused.
    fs::write(&config, text(&folder.at("none/audit"))).unwrap();
    running.signal("HUP");
    running.wait_for_log("reload_refused");
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("audit_not_written").count(), 1, "{log}");
    assert!(
        log.contains("ERROR audit_not_written: security events are lost and counted until their file can be written: make room")
            && log.contains("file=/dev/full"),
        "{log}"
    );
    assert!(log.contains("none/audit cannot be opened"), "{log}");
    let text = fs::read_to_string(&audit).unwrap();
    let (first, rest) = text.split_once('\n').expect("a line");
    let lost = first.strip_prefix("{\"event\":\"audit_events_lost\",\"count\":");
    let lost: usize = lost.and_then(|count| count.strip_suffix('}')?.parse().ok()).expect(&text);
    // What was on its way when the other file came is in that.
    let written = rest.matches("\"event\":\"login\"").count();
    assert!(lost >= 1, "{text}");
    assert_eq!(lost + written, 6, "{text}");
}
