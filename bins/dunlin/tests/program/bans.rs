//! `dunlin ban`, and bans over a restart.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Folder, Running, dunlin, output, refused};

/// The answer to CONNECT of an MQTT 5.0 client with the Client Identifier `c`: the reason code of its CONNACK.
fn connect(address: SocketAddr) -> u8 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
        .write_all(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'c'])
        .unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    head[3]
}

/// What `dunlin ban` prints.
fn ban(data: &str, arguments: &[&str]) -> String {
    let output = output(&[&["ban"], arguments, &["--data-dir", data]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn start(data: &str) -> Running {
    Running::start(&mut dunlin(&["--listen", "127.0.0.1:0", "--data-dir", data]))
}

#[test]
fn a_ban_holds_at_once_and_over_a_restart() {
    let folder = Folder::new();
    let data = folder.at("data");
    let running = start(&data);
    assert_eq!(ban(&data, &["list"]), "nobody is banned\n");
    assert_eq!(connect(running.address), 0);
    let added = ban(&data, &["add", "client", "c", "--reason", "flaps", "--for", "2h"]);
    assert_eq!(added, "banned client c\n");
    let elsewhere = ban(&data, &["add", "address", "192.0.2.0/24"]);
    assert_eq!(elsewhere, "banned address 192.0.2.0/24\n");
    assert_eq!(connect(running.address), 0x8A);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    let running = start(&data);
    assert_eq!(connect(running.address), 0x8A);
    let list = ban(&data, &["list"]);
    let (first, second) = list.split_once('\n').unwrap();
    assert_eq!(first, "address 192.0.2.0/24, until it is taken back");
    assert!(second.starts_with("client c, for ") && second.ends_with(": flaps\n"), "{second}");
    assert_eq!(ban(&data, &["remove", "client", "c"]), "client c may come in again\n");
    refused(
        &["ban", "remove", "client", "c", "--data-dir", &data],
        3,
        "there is no ban of client c",
    );
    assert_eq!(connect(running.address), 0);
}

#[test]
fn bans_that_cannot_be_read_are_not_overlooked() {
    let folder = Folder::new();
    let data = folder.at("data");
    fs::create_dir(&data).unwrap();
    let file = format!("{data}/bans.toml");
    fs::write(&file, "[[ban]]\nuser = 'eve'\nuntl = 7\nwhy = 'x'\n").unwrap();
    refused(
        &["--listen", "127.0.0.1:0", "--data-dir", &data],
        3,
        &format!(
            "{file}:3: unknown key `untl`: did you mean `until`? (and 1 more): put it right, or move the file away to \
             begin without bans"
        ),
    );
}

#[test]
fn where_no_broker_runs_there_is_nobody_to_ask() {
    let folder = Folder::new();
    let data = folder.at("data");
    let output = output(&["ban", "list", "--data-dir", &data]);
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("dunlin: no running broker answers in {data}: ");
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn quotas_and_bans_of_the_file_hold() {
    let folder = Folder::new();
    let file = folder.at("dunlin.toml");
    let listener = "[listeners.one]\naddress = '127.0.0.1:0'\n";
    fs::write(&file, format!("[bans]\nflap_connects = 3\n[[quotas]]\nfor = 'each client'\nconnects = '2/h'\n{listener}"))
        .unwrap();
    let running = Running::start(&mut dunlin(&["--config", &file]));
    assert_eq!([connect(running.address), connect(running.address)], [0, 0]);
    assert_eq!(connect(running.address), 0x8A);
    fs::write(&file, format!("[[quotas]]\nconnects = '2'\n{listener}")).unwrap();
    let output = output(&["check", "--config", &file]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "dunlin: {file}:2: `quotas.connects` must be a rate such as \"100/s\", \"5000/min\" or \"64 KiB/s\", with what \
             can be saved up \"100/s burst 500\", or \"none\", not `2`\n\
             dunlin: {file}:2: a rule [[quotas]] without a `for`\n"
        )
    );
}
