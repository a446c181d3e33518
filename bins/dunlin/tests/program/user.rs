//! `dunlin user`, and a broker that takes what it wrote.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};

use crate::support::{Folder, Running, dunlin, output, refused};

/// Runs with this on standard input.
fn typed(arguments: &[&str], input: &str) -> Output {
    let mut command = dunlin(arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // Who refuses its arguments may be gone before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The return code of an MQTT 3.1.1 CONNECT with this name and password.
pub(crate) fn connects(address: SocketAddr, user: &str, password: &str) -> u8 {
    login(address, "s", user, password).1
}

/// The same with the connection, for a client with this identifier.
pub(crate) fn login(
    address: SocketAddr,
    client_id: &str,
    user: &str,
    password: &str,
) -> (TcpStream, u8) {
    let text = |text: &str| {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let body =
        [text("MQTT"), vec![4, 0b1100_0010, 0, 0], text(client_id), text(user), text(password)]
            .concat();
    let low = u8::try_from(body.len() % 128).unwrap();
    let length = match u8::try_from(body.len() / 128).unwrap() {
        0 => vec![low],
        high => vec![low | 0x80, high],
    };
    let packet = [vec![0x10], length, body].concat();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&packet).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..3], [0x20, 2, 0]);
    (stream, answer[3])
}

#[test]
fn users_are_made_listed_changed_and_taken_out_and_come_in() {
    let folder = Folder::new();
    let users = folder.at("users");
    let add =
        ["user", "add", "alice", "--file", &users, "--role", "reader", "--tenant", "t", "--scram"];
    assert_eq!(succeeds(&typed(&add, "secret\n")), "");
    let password = folder.at("password");
    fs::write(&password, "other\r\nnot this\n").unwrap();
    let add_bob = [
        "user",
        "add",
        "bob",
        "--file",
        &users,
        "--password-file",
        &password,
        "--attribute",
        "site=a:b",
    ];
    assert_eq!(succeeds(&output(&add_bob)), "");
    let listed = succeeds(&output(&["user", "list", "--file", &users]));
    assert_eq!(listed, "alice tenant=t role=reader (SCRAM)\nbob\n");
    let text = fs::read_to_string(&users).unwrap();
    assert!(
        text.contains("\nbob:$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("secret"),
        "{text}"
    );
    assert!(text.contains(":attr.site=a%3Ab\n"), "{text}");

    let config = folder.at("dunlin.toml");
    let lines = format!(
        "[auth.file]\npath = {users:?}\nwatch_interval = \"10ms\"\n[logins]\nthrottle = false\n[audit]\nfile = {:?}\n",
        folder.at("audit")
    );
    fs::write(&config, lines).unwrap();
    let checked = succeeds(&output(&["check", "--config", &config, "--listen", "127.0.0.1:0"]));
    assert!(
        checked.contains(&format!("would know clients by file: 2 users in {users}\n")),
        "{checked}"
    );
    // Without --file the configuration says which.
    assert_eq!(succeeds(&output(&["user", "list", "--config", &config])), listed);

    let running = Running::start(&mut dunlin(&["--config", &config, "--listen", "127.0.0.1:0"]));
    let address = running.address;
    assert_eq!(
        [("alice", "secret"), ("bob", "other")]
            .map(|(user, password)| connects(address, user, password)),
        [0, 0]
    );
    assert_eq!(
        [("alice", "other"), ("nobody", "x")]
            .map(|(user, password)| connects(address, user, password)),
        [4, 4]
    );
    succeeds(&output(&["user", "remove", "bob", "--file", &users]));
    succeeds(&typed(&["user", "passwd", "alice", "--file", &users], "third\n"));
    // The broker looks at the file from time to time.
    while connects(address, "alice", "third") != 0 {}
    assert_eq!(
        [("alice", "secret"), ("bob", "other")]
            .map(|(user, password)| connects(address, user, password)),
        [4, 4]
    );
    running.signal("TERM");
    let (code, _, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("users_reloaded") && !log.contains("login_refused"), "{log}");
    let audit = fs::read_to_string(folder.at("audit")).unwrap();
    let first = audit.lines().nth(1).unwrap();
    assert!(first.contains(r#""event":"login""#) && first.contains(r#""user":"alice""#), "{first}");
    assert!(audit.contains(r#""event":"login_refused""#), "{audit}");
    for secret in ["secret", "third", "argon2"] {
        assert!(!audit.contains(secret) && !log.contains(secret), "{audit}{log}");
    }
}

#[test]
fn slips_are_answered() {
    let folder = Folder::new();
    let users = folder.at("users");
    succeeds(&typed(&["user", "add", "alice", "--file", &users], "secret\n"));
    let again = typed(&["user", "add", "alice", "--file", &users], "secret\n");
    assert_eq!(
        String::from_utf8_lossy(&again.stderr),
        format!(
            "dunlin: {users} has a user \"alice\" already: `dunlin user passwd` gives it another password\n"
        )
    );
    refused(
        &["user", "remove", "bob", "--file", &users],
        1,
        &format!("{users} has no user \"bob\""),
    );
    refused(
        &["user", "add", "a:b", "--file", &users],
        2,
        "a user's name may not be empty, hold `:` or a control character, or begin with `#` or `!`",
    );
    refused(&["user", "add", "bob", "--file", &users], 1, "an empty password is none");
    refused(&["user", "add"], 2, "`dunlin user add` needs a name");
    refused(&["user", "lst"], 2, "unknown command user lst: did you mean list?");
    refused(
        &["user", "list"],
        2,
        "which file? --file says it, or --config a configuration with a section [auth.file]",
    );
    refused(
        &["--scram"],
        2,
        "--file, --password-file, --scram, --role, --tenant and --attribute go with `dunlin user`",
    );
    fs::write(&users, "alice\n").unwrap();
    refused(&["user", "list", "--file", &users], 1, &format!("{users}:1: must be NAME:HASH"));
    let config = folder.at("dunlin.toml");
    fs::write(&config, format!("[auth.file]\npath = {users:?}\n")).unwrap();
    refused(
        &["check", "--config", &config],
        3,
        &format!("[auth.file]: {users}:1: must be NAME:HASH"),
    );
}

/// Nobody who looks at the list of processes sees a password.
#[test]
fn no_option_takes_a_password() {
    let help: Output =
        Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["user", "--help"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("--password "));
    let told = output(&["user", "add", "alice", "--password", "x"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&told.stderr).starts_with("dunlin: unknown option --password: ")
    );
}
