//! The program as its users meet it: the real binary, its lines, its signals and its exit codes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod audit;
mod bans;
mod logins;
mod memory;
mod reload;
mod secrets;
mod service;
mod store;
mod support;
mod user;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{File, Running, dunlin, output, refused};

#[test]
fn it_says_where_it_listens_and_how_to_try_it() {
    let running = Running::start(&mut dunlin(&["--listen", "127.0.0.1:0"]));
    assert!(TcpStream::connect(running.address).is_ok());
    let port = running.address.port();
    running.signal("TERM");
    let (code, out, _) = running.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        format!(
            "Try it:\n  mosquitto_sub -h 127.0.0.1 -p {port} -t 'demo/#' -v\n  \
             mosquitto_pub -h 127.0.0.1 -p {port} -t demo/hello -m 'it works'\n"
        )
    );
}

#[test]
fn both_signals_end_it_with_success() {
    for signal in ["TERM", "INT"] {
        let running = Running::start(&mut dunlin(&["run", "--listen", "127.0.0.1:0"]));
        running.signal(signal);
        let (code, _, log) = running.end();
        assert_eq!(code, Some(0), "SIG{signal}");
        for event in ["broker_started", "broker_stopping", "broker_stopped"] {
            assert!(log.contains(event), "{log}");
        }
    }
}

/// CONNECT of an MQTT 3.1.1 client "t", and the CONNACK that lets it in.
const CONNECT: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b't'];
const CONNACK: &[u8] = &[0x20, 2, 0, 0];

#[test]
fn a_client_is_served_and_the_end_is_not_held_up_by_it() {
    let running = Running::start(&mut dunlin(&["--listen", "127.0.0.1:0", "--log-format", "json"]));
    let mut client = TcpStream::connect(running.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.write_all(CONNECT).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, CONNACK);

    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0));
    assert_eq!(client.read(&mut answer).unwrap(), 0, "the broker closes the connection");
    let is_object = |line: &str| line.starts_with("{\"timestamp\":") && line.ends_with('}');
    assert!(log.lines().all(is_object), "{log}");
    assert!(log.contains("\"event\":\"connection_end\""), "{log}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    refused(
        &["--log", "off", "--listen", &address.to_string()],
        4,
        &format!(
            "{address} is in use: stop the program that listens there, or choose another address with --listen"
        ),
    );
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest_key() {
    let file = File::new("[limits]\nqueue_bytes_max = \"1 MiB\"\nrecieve_maximum = 5\n");
    let message = format!(
        "{}:3: unknown key `limits.recieve_maximum`: did you mean `receive_maximum`?",
        file.path()
    );
    refused(&["check", "--config", file.path()], 3, &message);
    refused(&["--config", file.path()], 3, &message);
}

#[test]
fn a_wrong_value_is_refused_with_file_and_line() {
    let file = File::new("[limits]\n\nconnect_deadline = 10\n");
    let expected = "a time such as \"500ms\", \"10s\", \"5min\", \"2h\" or \"7d\"";
    let message =
        format!("{}:3: `limits.connect_deadline` must be {expected}, not `10`", file.path());
    refused(&["check", "--config", file.path()], 3, &message);
}

#[test]
fn a_listener_for_other_machines_is_refused_unless_its_own_section_allows_anonymous_clients() {
    let section = "[listeners.lan]\naddress = \"0.0.0.0:0\"\n";
    let file = File::new(section);
    let remedy = "can be reached from other machines, and no authentication is set up: make users with `dunlin user add` \
                  and say where they are, `path` in a section [auth.file]; or";
    refused(
        &["--config", file.path()],
        3,
        &format!(
            "{}:2: 0.0.0.0:0 {remedy} put `allow_anonymous = true` into its section [listeners.lan] to let every client \
             in; or listen on 127.0.0.1",
            file.path()
        ),
    );
    refused(
        &["--listen", "0.0.0.0:0"],
        3,
        &format!(
            "--listen 0.0.0.0:0: 0.0.0.0:0 {remedy} add --allow-anonymous to let every client in; or listen on 127.0.0.1"
        ),
    );

    let open = File::new(&format!("{section}allow_anonymous = true\n"));
    for arguments in
        [&["--config", open.path()][..], &["--listen", "0.0.0.0:0", "--allow-anonymous"]]
    {
        let running = Running::start(&mut dunlin(arguments));
        running.signal("TERM");
        assert_eq!(running.end().0, Some(0), "{arguments:?}");
    }
}

#[test]
fn sources_win_in_rising_order() {
    let file =
        File::new("[limits]\nreceive_maximum = 1\ninflight_max = 1\n[log]\nlevel = \"error\"\n");
    let mut command = dunlin(&["config", "--config", file.path(), "--log", "debug"]);
    let output =
        command.env("DUNLIN_LIMITS_INFLIGHT_MAX", "2").env("DUNLIN_LOG", "warn").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["receive_maximum = 1", "inflight_max = 2", "level = \"debug\""] {
        assert!(text.lines().any(|each| each == line), "{line}: {text}");
    }
}

#[test]
fn check_says_what_it_would_do() {
    let file = File::new("[listeners.lan]\naddress = \"[::]:1883\"\nallow_anonymous = true\n");
    for (more, place) in [
        (&["--data-dir", "/somewhere"][..], "/somewhere"),
        (&[], "memory and lose it with the process"),
    ] {
        let output = output(&[&["check", "--config", file.path()], more].concat());
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!(
                "would listen on [::]:1883 (lan, anonymous clients allowed)\n\
                 would keep its data in {place}\nthe configuration is good\n"
            )
        );
    }
}

#[test]
fn the_default_file_is_a_good_configuration() {
    let defaults = output(&["config", "--defaults"]);
    assert_eq!(defaults.status.code(), Some(0));
    let file = File::new(&String::from_utf8(defaults.stdout).unwrap());
    assert_eq!(output(&["check", "--config", file.path()]).status.code(), Some(0));
}

#[test]
fn slips_on_the_command_line_are_one_line() {
    refused(&["--lisen", "x"], 2, "unknown option --lisen: did you mean --listen?");
    refused(
        &["--config", "/nowhere.toml"],
        3,
        "configuration file /nowhere.toml: cannot be read: No such file or directory (os error 2)",
    );
    refused(
        &["--log", "loud"],
        3,
        "--log: `log.level` must be \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\", or levels by module such \
         as \"info,dunlin_broker=debug\", not `loud`",
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--data-dir DIR"));
    let store = output(&["store", "--help"]);
    assert_eq!(store.status.code(), Some(0));
    assert!(String::from_utf8(store.stdout).unwrap().contains("dunlin store backup DIR"));
    let version = output(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("dunlin {}\n", env!("CARGO_PKG_VERSION"))
    );
}
