//! What is kept in the data directory, over crashes, and what `dunlin store` does with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::{File, Folder, Running, dunlin, output, refused};

/// A client that says bytes and expects bytes.
struct Client(TcpStream);

impl Client {
    /// MQTT 3.1.1 with Clean Session 0.
    fn connect(address: SocketAddr, id: &str, session_present: bool) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(stream);
        client.say(0x10, &[b"\0\x04MQTT\x04\0\0\x3C", &text(id)[..]].concat());
        client.expect(&[0x20, 2, u8::from(session_present), 0]);
        client
    }

    fn say(&mut self, first: u8, body: &[u8]) {
        let length = u8::try_from(body.len()).unwrap();
        assert!(length < 128);
        self.0.write_all(&[&[first, length], body].concat()).unwrap();
    }

    fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.0.read_exact(&mut read).unwrap();
        assert_eq!(read, bytes);
    }

    /// A PUBLISH with the Packet Identifier 2, the first of every queue. DUP says that it may have been sent before, which
    /// the broker cannot know when it was killed before it noted that the client had left.
    fn expect_publish(&mut self, first: u8, topic: &str, payload: &str) {
        let body = [&text(topic)[..], b"\0\x02", payload.as_bytes()].concat();
        let length = u8::try_from(body.len()).unwrap();
        let mut read = vec![0; 2 + body.len()];
        self.0.read_exact(&mut read).unwrap();
        *read.first_mut().unwrap() &= !0x08;
        assert_eq!(read, [&[first, length], &body[..]].concat());
    }

    fn subscribe(&mut self, filter: &str) {
        self.say(0x82, &[b"\0\x01", &text(filter)[..], b"\x01"].concat());
        self.expect(&[0x90, 3, 0, 1, 1]);
    }

    /// At QoS 1; the broker has it when this returns.
    fn publish(&mut self, first: u8, topic: &str, payload: &str) {
        self.say(first, &[&text(topic)[..], b"\0\x07", payload.as_bytes()].concat());
        self.expect(&[0x40, 2, 0, 7]);
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn start(data: &str) -> Running {
    Running::start(&mut dunlin(&["--listen", "127.0.0.1:0", "--data-dir", data]))
}

/// A broker that is killed when it has a queued and a retained message.
fn filled(data: &str) {
    let running = start(data);
    let mut reader = Client::connect(running.address, "reader", false);
    reader.subscribe("jobs/#");
    drop(reader);
    let mut writer = Client::connect(running.address, "writer", false);
    writer.publish(0x32, "jobs/1", "queued");
    writer.publish(0x33, "status", "open");
    running.kill();
}

/// What it prints on standard output when it ends well.
#[track_caller]
fn said(arguments: &[&str]) -> String {
    let output = output(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    let data = folder.at("data");
    filled(&data);

    let running = start(&data);
    let mut reader = Client::connect(running.address, "reader", true);
    reader.expect_publish(0x32, "jobs/1", "queued");
    reader.say(0x40, b"\0\x02");
    let mut other = Client::connect(running.address, "other", false);
    other.subscribe("status");
    other.expect_publish(0x33, "status", "open");
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    // And after a stop in order, with what was acknowledged gone.
    let exported = said(&["store", "export", "--data-dir", &data, "--log", "off"]);
    assert!(!exported.contains("jobs/1"), "{exported}");
    assert!(exported.contains("\"client_id\":\"reader\""), "{exported}");
}

#[test]
fn the_default_data_directory_is_in_the_folder_it_was_started_in() {
    let folder = Folder::new();
    let mut command = dunlin(&["--listen", "127.0.0.1:0"]);
    command.env_remove("DUNLIN_STORE_BACKEND").current_dir(folder.at(""));
    let running = Running::start(&mut command);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(fs::exists(folder.at("data/store.sqlite3")).unwrap());
}

#[test]
fn a_second_process_is_refused() {
    let folder = Folder::new();
    let data = folder.at("data");
    let running = start(&data);
    let message = format!(
        "the data directory {data} is in use by process {}: stop that one, or choose another directory with --data-dir",
        running.child.id()
    );
    refused(&["--listen", "127.0.0.1:0", "--log", "off", "--data-dir", &data], 5, &message);
    for command in ["check", "repair", "export"] {
        refused(&["store", command, "--data-dir", &data], 5, &message);
    }
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_data_directory_that_cannot_be_used_is_one_line() {
    let file = File::new("not a folder");
    let data = format!("{}/data", file.path());
    refused(
        &["--listen", "127.0.0.1:0", "--log", "off", "--data-dir", &data],
        5,
        &format!(
            "{data} cannot be used as part of the data directory: Not a directory (os error 20)"
        ),
    );
    let folder = Folder::new();
    let nothing = folder.at("nothing");
    for command in [&["check"][..], &["repair"], &["stats"], &["export"], &["backup", "x"]] {
        let arguments = [&["store"], command, &["--data-dir", &nothing]].concat();
        refused(&arguments, 5, &format!("there is no store in {nothing}"));
    }
    assert!(!fs::exists(&nothing).unwrap(), "looking makes nothing");
}

#[test]
fn what_is_exported_can_be_imported() {
    let folder = Folder::new();
    let (data, file, copy) = (folder.at("data"), folder.at("all.jsonl"), folder.at("copy"));
    filled(&data);
    assert_eq!(
        said(&["store", "export", &file, "--data-dir", &data]),
        format!(
            "exported to {file}: 2 sessions with 1 subscriptions, 1 retained messages, 1 messages in 1 places of queues\n"
        )
    );
    refused(
        &["store", "export", &file, "--data-dir", &data],
        1,
        &format!("the export {file} cannot be written: entity already exists"),
    );
    assert_eq!(
        said(&["store", "import", &file, "--data-dir", &copy]),
        format!(
            "imported into {copy}: 2 sessions with 1 subscriptions, 1 retained messages, 1 messages in 1 places of queues\n"
        )
    );
    // All but the time in the first line is the same.
    let again = said(&["store", "export", "--data-dir", &copy]);
    let first = fs::read_to_string(&file).unwrap();
    assert_eq!(again.split_once('\n').unwrap().1, first.split_once('\n').unwrap().1);
    refused(
        &["store", "import", &file, "--data-dir", &copy],
        5,
        &format!(
            "the data directory {copy} holds a store already: choose an empty one with --data-dir"
        ),
    );

    let running = start(&copy);
    let mut reader = Client::connect(running.address, "reader", true);
    reader.expect_publish(0x32, "jobs/1", "queued");
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let folder = Folder::new();
    let (data, file, copy) = (folder.at("data"), folder.at("all.jsonl"), folder.at("copy"));
    filled(&data);
    said(&["store", "export", &file, "--data-dir", &data]);
    let whole = fs::read_to_string(&file).unwrap();
    let (cut, _) = whole.trim_end().rsplit_once('\n').unwrap();
    fs::write(&file, format!("{cut}\n")).unwrap();
    let message = "nothing was imported: line 5: the file ends here without its last line, so a part of it is missing";
    refused(&["store", "import", &file, "--data-dir", &copy], 1, message);
    assert!(!fs::exists(&copy).unwrap());
    fs::create_dir(&copy).unwrap();
    refused(&["store", "import", &file, "--data-dir", &copy], 1, message);
    assert_eq!(fs::read_dir(&copy).unwrap().count(), 0);

    // One that was killed is recognised.
    fs::write(folder.at("copy/import.unfinished"), "").unwrap();
    refused(
        &["--listen", "127.0.0.1:0", "--log", "off", "--data-dir", &copy],
        5,
        &format!(
            "the data directory {copy} holds a part of an import that was cut off: remove it and import again"
        ),
    );
}

#[test]
fn a_sound_store_is_checked_repaired_and_measured() {
    let folder = Folder::new();
    let data = folder.at("data");
    filled(&data);
    let checked = said(&["store", "check", "--data-dir", &data]);
    assert!(checked.ends_with("the store is sound\n"), "{checked}");
    assert_eq!(
        said(&["store", "repair", "--data-dir", &data]),
        "the store is sound: there is nothing to repair\n"
    );
    let stats = said(&["store", "stats", "--data-dir", &data]);
    assert!(stats.contains("closed in order: no"), "{stats}");
}

#[test]
fn a_backup_is_made_beside_a_running_broker_and_runs() {
    let folder = Folder::new();
    let (data, copy) = (folder.at("data"), folder.at("backups/first"));
    let running = start(&data);
    let mut reader = Client::connect(running.address, "reader", false);
    reader.subscribe("jobs/#");
    drop(reader);
    Client::connect(running.address, "writer", false).publish(0x32, "jobs/1", "queued");
    let made = said(&["store", "backup", &copy, "--data-dir", &data]);
    assert!(made.starts_with(&copy), "{made}");
    refused(
        &["store", "backup", &copy, "--data-dir", &data],
        5,
        &format!(
            "the data directory {copy} holds a store already: choose an empty one with --data-dir"
        ),
    );

    let second = start(&copy);
    let mut reader = Client::connect(second.address, "reader", true);
    reader.expect_publish(0x32, "jobs/1", "queued");
}

#[test]
fn a_damaged_store_is_refused_until_it_is_salvaged() {
    let folder = Folder::new();
    let data = folder.at("data");
    filled(&data);
    // In order, so that everything is in the database.
    let running = start(&data);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    let file = folder.at("data/store.sqlite3");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(6).position(|window| window == b"queued").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();

    let checked = output(&["store", "check", "--data-dir", &data]);
    assert_eq!(checked.status.code(), Some(6));
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.contains("the store is damaged"), "{text}");
    assert_eq!(
        String::from_utf8(checked.stderr).unwrap(),
        format!("dunlin: the store in {data} is damaged\n")
    );
    let refused = output(&["--listen", "127.0.0.1:0", "--log", "off", "--data-dir", &data]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{message}");
    assert!(message.starts_with("dunlin: ") && message.lines().count() == 1, "{message}");
    assert!(message.contains(&file) && message.contains("--salvage"), "{message}");

    let mut command =
        dunlin(&["--salvage", "--listen", "127.0.0.1:0", "--data-dir", &data, "--log", "warn"]);
    let running = Running::start(&mut command);
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("salvaged"), "{log}");
    assert!(said(&["store", "check", "--data-dir", &data]).ends_with("the store is sound\n"));
}

/// Files that others may read would show them what clients sent.
#[test]
fn what_is_written_is_for_its_owner_only() {
    let folder = Folder::new();
    let (data, file) = (folder.at("data"), folder.at("all.jsonl"));
    filled(&data);
    said(&["store", "export", &file, "--data-dir", &data]);
    let listed = Command::new("find").args([&data, &file, "-perm", "/077"]).output().unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "");
}
