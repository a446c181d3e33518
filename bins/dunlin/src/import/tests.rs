//! Real configurations, what becomes of them, and that nothing is lost on the way.

use std::collections::BTreeSet;

use super::conf::{Block, Conf, Line};
use super::plan::Plan;
use super::{Imported, import_mosquitto, write};
use crate::configuration::{Sources, assemble};
use crate::file;

const SAMPLES: [(&str, &str); 4] = [
    ("home", include_str!("samples/home.conf")),
    ("plant", include_str!("samples/plant.conf")),
    ("wrong", include_str!("samples/wrong.conf")),
    ("nothing", ""),
];

fn conf(text: &str) -> Conf {
    let mut conf = Conf::default();
    conf.read(&"mosquitto.conf".into(), text);
    conf
}

/// What is written, and what is said of it.
fn imported(text: &str) -> String {
    let Imported { configuration, remarks } = import_mosquitto(text);
    let remarks: String = remarks.iter().map(|remark| format!("{remark}\n")).collect();
    format!("{configuration}\n---\n{remarks}")
}

#[test]
fn imports_are_reviewed() {
    for (name, text) in SAMPLES {
        insta::assert_snapshot!(name, imported(text));
    }
}

#[test]
fn what_is_written_is_a_configuration() {
    for (name, text) in SAMPLES {
        let written = write::configuration(&Plan::of(&conf(text)));
        let assignments = match file::parse("dunlin.toml", &written) {
            Ok(assignments) => assignments,
            Err(problems) => panic!("{name}: {problems:?}\n{written}"),
        };
        let assembled = assemble(Sources { assignments, ..Sources::default() });
        let problems = assembled.map(|_| Vec::new()).unwrap_or_else(|problems| problems);
        // Nobody can come in where there is neither a password file nor `allow_anonymous`: the program says so itself.
        let others = problems.iter().filter(|problem| !problem.message.contains("allow_anonymous"));
        assert_eq!(others.count(), 0, "{name}: {problems:?}\n{written}");
    }
}

/// Found by a fuzz target: a control character in a bridge's line made a comment that is no TOML.
#[test]
fn a_control_character_in_a_comment_is_no_slip_in_the_file() {
    let text = "connection a\naddress b\u{1f}c\td\u{7f}\u{0}\n";
    let Imported { configuration, .. } = import_mosquitto(text);
    assert!(
        configuration.contains("# address b\u{fffd}c\td\u{fffd}\u{fffd}\n"),
        "{configuration:?}"
    );
    assert!(file::parse("dunlin.toml", &configuration).is_ok());
}

/// Lines that are carried as they are: their keyword is known, and nothing is to be said of them.
const SILENT: [&str; 33] = [
    "listener",
    "port",
    "bind_address",
    "socket_domain",
    "protocol",
    "per_listener_settings",
    "include_dir",
    "allow_anonymous",
    "acl_file",
    "cafile",
    "certfile",
    "keyfile",
    "password_file",
    "require_certificate",
    "tls_version",
    "use_identity_as_username",
    "persistence",
    "persistent_client_expiration",
    "max_connections",
    "max_inflight_messages",
    "max_keepalive",
    "max_packet_size",
    "max_qos",
    "max_queued_bytes",
    "max_queued_messages",
    "memory_limit",
    "queue_qos0_messages",
    "retain_available",
    "set_tcp_nodelay",
    "sys_interval",
    "log_dest",
    "log_type",
    "log_timestamp",
];

#[test]
fn no_line_is_lost_in_silence() {
    for (name, text) in SAMPLES {
        let plan = Plan::of(&conf(text));
        let remarked: BTreeSet<usize> = plan
            .remarks
            .iter()
            .filter_map(|remark| remark.origin.to_string().rsplit_once(':')?.1.parse().ok())
            .collect();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            let keyword = line.split_ascii_whitespace().next().unwrap_or_default();
            let silent = SILENT.contains(&keyword) || keyword == "connection_messages";
            let is_nothing = line.is_empty() || line.starts_with('#');
            assert!(is_nothing || silent || remarked.contains(&number), "{name}:{number}: {line}");
        }
    }
}

#[test]
fn lines_go_where_they_belong() {
    let line = |number, keyword: &str, value: &str| Line {
        file: "mosquitto.conf".into(),
        number,
        keyword: keyword.into(),
        value: value.into(),
    };
    let text = "max_qos 1\n  allow_anonymous\ttrue  \n#listener 1\nlistener 1 a b\ncafile x\nacl_file y\n\
                connection c\ntopic # both\nbridge_x\ncafile z\nlistener 2\naddress d\n";
    let found = conf(text);
    let block = |head, lines| Block { head: Some(head), lines };
    assert_eq!(found.global, [line(2, "allow_anonymous", "true"), line(6, "acl_file", "y")]);
    assert_eq!(found.default_listener, Block { head: None, lines: vec![line(1, "max_qos", "1")] });
    assert_eq!(
        found.listeners,
        [
            block(
                line(4, "listener", "1 a b"),
                vec![line(5, "cafile", "x"), line(10, "cafile", "z")]
            ),
            block(line(11, "listener", "2"), vec![]),
        ]
    );
    let of_bridge =
        vec![line(8, "topic", "# both"), line(9, "bridge_x", ""), line(12, "address", "d")];
    assert_eq!(found.bridges, [block(line(7, "connection", "c"), of_bridge)]);

    let found = conf("per_listener_settings true\nlistener 1\nacl_file y\n");
    assert_eq!(found.listeners, [block(line(2, "listener", "1"), vec![line(3, "acl_file", "y")])]);
}

#[test]
fn secrets_stay_where_they_are() {
    let all = imported(include_str!("samples/plant.conf"));
    assert!(!all.contains("secret") && all.contains("remote_password (left out)"), "{all}");
}

#[test]
fn nothing_goes_in_the_clear_and_nobody_comes_in_unseen() {
    let keys = "certfile c\nkeyfile k\n";
    for (lines, is_open) in [
        (String::new(), true),
        ("certfile c\n".to_owned(), false),
        ("cafile a\n".to_owned(), false),
        ("require_certificate true\n".to_owned(), false),
        (keys.to_owned(), true),
        (format!("{keys}cafile a\n"), true),
        (format!("{keys}require_certificate true\n"), false),
        (format!("{keys}require_certificate perhaps\ncafile a\n"), false),
        (format!("{keys}require_certificate true\ncapath a\n"), false),
        (format!("{keys}require_certificate true\ncafile a\n"), true),
        (format!("{keys}use_identity_as_username true\ncafile a\n"), false),
        (format!("{keys}psk_hint h\n"), false),
    ] {
        let plan =
            Plan::of(&conf(&format!("listener 8883 10.0.0.7\nallow_anonymous true\n{lines}")));
        let listener = plan.listeners.first().expect("a listener");
        assert_eq!(listener.withheld.is_none(), is_open, "{lines}: {:?}", listener.withheld);
    }
}

#[test]
fn rules_are_in_force_for_those_they_were_for() {
    let text = "per_listener_settings true\nlistener 1 10.0.0.7\nacl_file a\npassword_file p\n\
                listener 2 10.0.0.7\nacl_file b\nlistener 3 10.0.0.7\nwebsockets_origin https://app.example\n\
                password_file q\n";
    insta::assert_snapshot!("rules", imported(text));
}
