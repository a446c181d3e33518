//! Another configuration for the running program: SIGHUP, the watched file, and what is said beforehand.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::{File, Folder, Running, connect, connect_as, dunlin, output};

const FIRST: &str = "[listeners.first]\naddress = '127.0.0.1:0'\n";
const BOTH: &str = "[listeners.first]\naddress = '127.0.0.1:0'\n\
                    [listeners.second]\naddress = '127.0.0.1:0'\n[log]\nlevel = 'debug'\n";

#[test]
fn sighup_takes_the_file_anew_and_disconnects_nobody_it_need_not() {
    let file = File::new(FIRST);
    let mut running = Running::start(&mut dunlin(&["--config", file.path()]));
    let mut stays = connect(running.address, b't');
    fs::write(file.path(), BOTH).unwrap();
    running.signal("HUP");
    let second = running.next_listener();
    let mut goes = connect(second, b'u');

    // What is wrong changes nothing.
    fs::write(file.path(), "[limits]\nreceive_maximum = 'many'\n").unwrap();
    running.signal("HUP");
    running.wait_for_log("reload_refused");

    fs::write(file.path(), FIRST).unwrap();
    running.signal("HUP");
    let mut farewell = [0; 3];
    goes.read_exact(&mut farewell).unwrap();
    assert_eq!(farewell, [0xE0, 1, 0x98], "administrative action");
    stays.write_all(&[0xC0, 0]).unwrap();
    let mut answer = [0; 2];
    stays.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0xD0, 0]);

    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0));
    let told = [
        "listener_added: the listener is open listener=second",
        "reload_refused: dunlin: ",
        ":2: `limits.receive_maximum` must be a whole number from 0 to 65535, not `many`: nothing has changed",
        "listener_removed: the listener is closed and its clients are disconnected listener=second",
        "setting_changed: the setting has changed setting=log.level",
    ];
    for each in told {
        assert!(log.contains(each), "{each} is not in {log}");
    }
}

#[test]
fn a_watched_file_is_taken_by_itself() {
    let watching = "[reload]\nwatch = true\nwatch_interval = '50ms'\n";
    let file = File::new(&format!("{watching}{FIRST}"));
    let mut running = Running::start(&mut dunlin(&["--config", file.path()]));
    fs::write(file.path(), format!("{watching}{BOTH}")).unwrap();
    connect(running.next_listener(), b't');
}

#[test]
fn check_says_beforehand_what_a_reload_would_do() {
    let folder = Folder::new();
    let data = folder.at("data");
    let file = File::new(BOTH);
    let running = Running::start(&mut dunlin(&["--config", file.path(), "--data-dir", &data]));
    let _client = connect(running.address, b't');
    let candidate = File::new(
        "[listeners.second]\naddress = '127.0.0.1:0'\nmaximum_qos = 1\n[limits]\nqueue_bytes_max = '1 MiB'\n\
         commit_batch_bytes_max = '1 MiB'\n",
    );
    let check = ["check", "--diff", "--data-dir", &data, "--config", candidate.path()];
    let said = output(&check);
    assert_eq!(said.status.code(), Some(0));
    let said = String::from_utf8(said.stdout).unwrap();
    let (_, said) = said.split_once("the running broker would:\n").unwrap();
    assert_eq!(
        said,
        "log.level: \"debug\" -> \"info\" (at once)\n\
         limits.queue_bytes_max: \"64 MiB\" -> \"1 MiB\" (at once)\n\
         limits.commit_batch_bytes_max: \"4 MiB\" -> \"1 MiB\" (needs a restart, and stays as it is until then)\n\
         listener first closes, with 1 connections; disconnected: \"t\"\n\
         listeners.second.maximum_qos: 2 -> 1 (for connections that begin afterwards)\n"
    );
    // Nothing has changed by asking.
    let said = output(&["check", "--diff", "--data-dir", &data, "--config", file.path()]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.ends_with("the running broker would:\nnothing would change\n"), "{said}");
}

#[test]
fn without_a_running_broker_there_is_no_difference_to_tell() {
    let folder = Folder::new();
    let said = output(&["check", "--diff", "--data-dir", &folder.at("data")]);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.starts_with("dunlin: no running broker answers in "), "{said}");
}

#[test]
fn a_unix_socket_is_a_door_like_any_other() {
    let folder = Folder::new();
    let path = folder.at("mqtt.sock");
    let file = File::new(&format!(
        "{FIRST}[listeners.local]\naddress = 'unix:{path}'\nunix_mode = '600'\n"
    ));
    let mut running = Running::start(&mut dunlin(&["--config", file.path()]));
    assert_eq!(
        running.next_line(),
        format!("listening on unix:{path} (local, anonymous clients allowed)\n")
    );
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(&connect_as(b't')).unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], 0x20);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    running.signal("TERM");
    running.end();
    assert!(!fs::exists(&path).unwrap(), "the socket goes with the broker");
}
