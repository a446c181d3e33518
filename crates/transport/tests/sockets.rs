//! Sockets as they are made: options of TCP, dual-stack rules, Unix files, and sockets that were handed over.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream as StdTcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_transport::tcp::{self, ListenOptions, TcpOptions, TcpProbes};
use dunlin_transport::unix::{self, UnixError, UnixOptions};
use dunlin_transport::{Credentials, Door, Inherited, Opened, Peer, Place, Stream, Transport};
use socket2::SockRef;

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

async fn accepted_tcp(options: &ListenOptions) -> (Opened, StdTcpStream) {
    accepted_with(options, &[]).await
}

/// A client of a listener that had each of these options set, one after the other.
async fn accepted_with(options: &ListenOptions, set: &[TcpOptions]) -> (Opened, StdTcpStream) {
    let bound = tcp::bind(loopback(), options).expect("a free port");
    let address = bound.place().expect("a place").address().expect("an address");
    let acceptor = bound.into_acceptor().expect("an acceptor");
    set.iter().for_each(|options| acceptor.set_options(options).expect("the system knows them"));
    let client = StdTcpStream::connect(address).expect("somebody listens");
    (acceptor.accept().await.expect("a client"), client)
}

#[tokio::test]
async fn a_plain_door_gives_the_socket_itself() {
    let (opened, client) = accepted_tcp(&ListenOptions::default()).await;
    let door = Door::default();
    assert!(door.is_plain());
    let Opened { stream, peer, received } = door.open(opened).await.expect("nothing to refuse");
    assert!(matches!(stream, Stream::Tcp(_)), "{stream:?}");
    assert_eq!(peer, Peer::tcp(client.local_addr().expect("an address")));
    assert_eq!(received, Vec::<u8>::new());
}

#[tokio::test]
async fn options_reach_the_socket() {
    let listen = ListenOptions {
        receive_buffer: Some(16 * 1024),
        send_buffer: Some(8 * 1024),
        ..Default::default()
    };
    let (opened, _client) = accepted_with(&listen, &[TcpOptions::default()]).await;
    let Stream::Tcp(socket) = &opened.stream else { panic!("{opened:?}") };
    assert!(socket.nodelay().expect("an option"));
    let socket = SockRef::from(socket);
    assert!(socket.keepalive().expect("an option"));
    assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(60));
    assert_eq!(socket.tcp_keepalive_interval().expect("an option"), Duration::from_secs(15));
    assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 4);
    assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(120)));
    // The kernel doubles what is asked for, for its own bookkeeping.
    assert_eq!(socket.recv_buffer_size().expect("an option"), 32 * 1024);
    assert_eq!(socket.send_buffer_size().expect("an option"), 16 * 1024);
}

#[tokio::test]
async fn options_that_are_off_are_not_set_though_they_were_on_before() {
    let off = TcpOptions { nodelay: false, keepalive: None, user_timeout: None };
    let set = [TcpOptions::default(), off];
    let (opened, _client) = accepted_with(&ListenOptions::default(), &set).await;
    let Stream::Tcp(socket) = &opened.stream else { panic!("{opened:?}") };
    assert!(!socket.nodelay().expect("an option"));
    assert!(!SockRef::from(socket).keepalive().expect("an option"));
    assert_eq!(SockRef::from(socket).tcp_user_timeout().expect("an option"), None);
    assert_eq!(TcpProbes::default().count, 4);
}

#[tokio::test]
async fn both_families_may_have_one_port_and_an_address_is_taken_once() {
    let Ok(six) = tcp::bind("[::1]:0".parse().expect("an address"), &ListenOptions::default())
    else {
        // A machine without IPv6 has nothing to tell apart.
        return;
    };
    let port = six.place().expect("a place").address().expect("an address").port();
    let four = SocketAddr::from(([127, 0, 0, 1], port));
    let _four = tcp::bind(four, &ListenOptions::default()).expect("the other family is free");
    let again = tcp::bind(four, &ListenOptions::default()).expect_err("it is taken");
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_port_may_be_shared_if_all_say_so() {
    let shared = ListenOptions { reuse_port: true, ..Default::default() };
    let first = tcp::bind(loopback(), &shared).expect("a free port");
    let address = first.place().expect("a place").address().expect("an address");
    let _second = tcp::bind(address, &shared).expect("shared");
    let third = tcp::bind(address, &ListenOptions::default()).expect_err("it does not share");
    assert_eq!(third.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_unix_client_is_known_by_its_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let options = UnixOptions { mode: 0o600, ..UnixOptions::new(&path) };
    let bound = unix::bind(&options).expect("a socket");
    assert_eq!(bound.place().expect("a place"), Place::Path(path.clone()));
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
    let acceptor = bound.into_acceptor().expect("an acceptor");
    let _client = StdUnixStream::connect(&path).expect("somebody listens");
    let opened = acceptor.accept().await.expect("a client");
    let me = fs::metadata(folder.path()).expect("a folder");
    let credentials =
        Credentials { uid: me.uid(), gid: me.gid(), pid: i32::try_from(std::process::id()).ok() };
    let mut peer = Peer { transport: Transport::Unix, ..Peer::default() };
    peer.details_mut().credentials = Some(credentials);
    assert_eq!(opened.peer, peer);
    drop(acceptor);
    assert!(!path.exists(), "the file goes with its socket");
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    // Dropped without being removed, as by a kill.
    drop(UnixListener::bind(&path).expect("a socket"));
    let bound = unix::bind(&UnixOptions::new(&path)).expect("it is replaced");
    let live = unix::bind(&UnixOptions::new(&path)).expect_err("it is in use");
    assert!(matches!(live, UnixError::Live(_)), "{live}");
    assert_eq!(
        live.to_string(),
        format!("{}: another process is listening on this socket", path.display())
    );
    // One that took the place of ours stays when ours goes.
    fs::remove_file(&path).expect("a file");
    let _other = UnixListener::bind(&path).expect("a socket");
    drop(bound);
    assert!(path.exists());
}

#[tokio::test]
async fn what_cannot_be_made_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.txt");
    fs::write(&file, "keep").expect("a file");
    let error = unix::bind(&UnixOptions::new(&file)).expect_err("no socket");
    assert!(matches!(error, UnixError::NoSocket(_)), "{error}");
    assert_eq!(fs::read(&file).expect("a file"), b"keep");
    let path = folder.path().join("mqtt.sock");
    let options =
        UnixOptions { user: Some("nobody-of-that-name".into()), ..UnixOptions::new(&path) };
    let error = unix::bind(&options).expect_err("no user");
    assert_eq!(error.to_string(), "there is no user `nobody-of-that-name`");
    let options = UnixOptions { group: Some("no-such-group".into()), ..UnixOptions::new(&path) };
    let error = unix::bind(&options).expect_err("no group");
    assert_eq!(error.to_string(), "there is no group `no-such-group`");
    let deep = folder.path().join("missing").join("mqtt.sock");
    let error = unix::bind(&UnixOptions::new(&deep)).expect_err("no folder");
    assert!(matches!(error, UnixError::System { .. }), "{error}");
    let long = folder.path().join("x".repeat(120));
    let error = unix::bind(&UnixOptions::new(&long)).expect_err("too long");
    assert!(matches!(error, UnixError::System { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn an_owner_is_given_by_name_or_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let me = fs::metadata(folder.path()).expect("a folder");
    let owner = (Some(me.uid().to_string()), Some(me.gid().to_string()));
    let options =
        UnixOptions { mode: 0o640, user: owner.0, group: owner.1, ..UnixOptions::new(&path) };
    let _bound = unix::bind(&options).expect("a socket");
    let made = fs::metadata(&path).expect("a file");
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (me.uid(), me.gid(), 0o640));
}

/// The test runs itself once more as the process that a service manager would start, with the socket as its input.
#[tokio::test]
async fn a_socket_is_handed_over_by_name() {
    const ROLE: &str = "DUNLIN_TEST_INHERITS";
    if std::env::var_os(ROLE).is_some() {
        let mut inherited = Inherited::from_env();
        assert_eq!(inherited.names().collect::<Vec<_>>(), ["mqtt"]);
        let error = inherited.take("other").expect_err("no such name");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let taken = inherited.take("mqtt").expect("handed over").pop().expect("one socket");
        assert_eq!(inherited.names().count(), 0);
        let place = taken.place().expect("a place");
        println!("took {place}");
        let acceptor = taken.into_acceptor().expect("an acceptor");
        acceptor.accept().await.expect("a client");
        return;
    }
    let socket = TcpListener::bind(loopback()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    let _client = StdTcpStream::connect(address).expect("the kernel accepts");
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_socket_is_handed_over_by_name", "--nocapture"])
        .envs([(ROLE, "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mqtt")])
        .env("LISTEN_FDS_FIRST_FD", "0")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .output()
        .expect("it runs");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    assert!(output.contains(&format!("took {address}")), "{output}");
}
