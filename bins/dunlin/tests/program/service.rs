//! What a service manager sees and does: readiness, the watchdog, sockets that it hands over.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use crate::support::{File, Folder, Running, connect, connect_as, dunlin, refused};

/// In the place of systemd: the socket to which a service says how it is.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.at("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, path, _folder: folder }
    }

    fn told_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", &self.path)
    }

    fn hear(&self) -> String {
        let mut told = [0; 256];
        let count = self.socket.recv(&mut told).unwrap();
        String::from_utf8(told.get(..count).unwrap().to_vec()).unwrap()
    }

    fn hear_all_but(&self, quiet: &str) -> String {
        loop {
            let told = self.hear();
            if !told.contains(quiet) {
                return told;
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_when_clients_are_served() {
    let manager = Manager::new();
    let mut command = dunlin(&["--listen", "127.0.0.1:0"]);
    let running = Running::start(manager.told_by(&mut command).env("WATCHDOG_USEC", "200000"));
    assert_eq!(manager.hear_all_but("WATCHDOG").trim(), "READY=1");
    assert_eq!(manager.hear().trim(), "WATCHDOG=1");
    assert_eq!(manager.hear().trim(), "WATCHDOG=1");
    running.signal("HUP");
    let reloading = manager.hear_all_but("WATCHDOG");
    assert!(reloading.contains("RELOADING=1\n") && reloading.contains("MONOTONIC_USEC="));
    assert_eq!(manager.hear_all_but("WATCHDOG").trim(), "READY=1");
    running.signal("TERM");
    assert_eq!(manager.hear_all_but("WATCHDOG").trim(), "STOPPING=1");
}

#[test]
fn ready_means_that_what_was_stored_is_there() {
    let folder = Folder::new();
    let data = folder.at("data");
    // CONNECT without Clean Session, and SUBSCRIBE of `a` at QoS 1, as 3.1.1.
    let connect_kept = *b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01s";
    let connack_of = |running: &Running| {
        let mut client = TcpStream::connect(running.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(&connect_kept).unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        (client, connack)
    };
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", &data];
    let running = Running::start(&mut dunlin(&arguments));
    let (mut client, connack) = connack_of(&running);
    assert_eq!(connack, [0x20, 2, 0, 0]);
    client.write_all(b"\x82\x06\0\x01\0\x01a\x01").unwrap();
    let mut suback = [0; 5];
    client.read_exact(&mut suback).unwrap();
    assert_eq!(suback, [0x90, 3, 0, 1, 1]);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    let manager = Manager::new();
    let running = Running::start(manager.told_by(&mut dunlin(&arguments)));
    assert_eq!(manager.hear().trim(), "READY=1");
    assert_eq!(connack_of(&running).1, [0x20, 2, 1, 0], "the session is present");
}

/// Starts the program as systemd would that opened two sockets, with these names.
fn activated(arguments: &[&str], first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> Running {
    // Descriptors are passed on as standard input and error, and moved where the protocol has them. The process keeps its
    // number when it becomes another program.
    let script = "exec 3<&0 4<&2 0</dev/null 2>/dev/null; \
        export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=mqtt:local; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_dunlin")]).args(arguments);
    command.env("DUNLIN_STORE_BACKEND", "memory");
    Running::start_as_it_is(command.stdin(first.into()).stderr(second.into()))
}

#[test]
fn sockets_that_are_handed_over_are_found_by_their_names() {
    let folder = Folder::new();
    let path = folder.at("mqtt.sock");
    let (tcp, local) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let address = tcp.local_addr().unwrap();
    // Who comes before the broker is there waits for it.
    let mut early = TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    early.write_all(&connect_as(b'e')).unwrap();
    let file = File::new(
        "[listeners.lan]\naddress = 'systemd:mqtt'\nallow_anonymous = true\n\
         [listeners.here]\naddress = 'systemd:local'\nallow_anonymous = true\n",
    );
    let mut running = activated(&["--config", file.path()], tcp, local);
    assert_eq!(running.address, address);
    let here = format!("listening on unix:{path} (here, anonymous clients allowed)\n");
    assert_eq!(running.next_line(), here);
    let mut head = [0; 2];
    early.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    connect(address, b't');
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(&connect_as(b'u')).unwrap();
    client.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    running.signal("TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(fs::exists(&path).unwrap(), "the file is the manager's");
}

#[test]
fn a_socket_that_nobody_handed_over_is_named() {
    let file = File::new("[listeners.lan]\naddress = 'systemd:mqtt'\nallow_anonymous = true\n");
    let folder = Folder::new();
    let arguments = ["--config", file.path(), "--data-dir", &folder.at("data")];
    let message = "systemd:mqtt cannot be opened: no socket named `mqtt` was handed over by the service manager";
    refused(&arguments, 4, message);
}
