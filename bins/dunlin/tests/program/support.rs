//! The real binary, run to its end or until it listens, and places for its files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The binary without this machine's own variables, and with its store in memory unless `--data-dir` says otherwise.
pub(crate) fn dunlin(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DUNLIN_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    if !arguments.contains(&"--data-dir") {
        command.env("DUNLIN_STORE_BACKEND", "memory");
    }
    command.args(arguments);
    command
}

pub(crate) fn output(arguments: &[&str]) -> Output {
    dunlin(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs to its end and compares the exit code and everything it said on standard error.
#[track_caller]
pub(crate) fn refused(arguments: &[&str], code: i32, message: &str) {
    let output = output(arguments);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("dunlin: {message}\n"),
        "{arguments:?}"
    );
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

/// A path that nobody else uses.
fn fresh(ending: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("dunlin-test-{}-{number}{ending}", std::process::id()))
}

/// A file of its own for each caller, gone with it.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        let path = fresh(".toml");
        fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A folder of its own for each caller, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = fresh("");
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of something in it.
    pub(crate) fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// CONNECT of an MQTT 5.0 client whose Client Identifier is this letter.
pub(crate) const fn connect_as(id: u8) -> [u8; 16] {
    [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, id]
}

/// Connects; the stream is good for reading what comes after the CONNACK.
pub(crate) fn connect(address: SocketAddr, id: u8) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&connect_as(id)).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    let mut rest = vec![0; usize::from(head[1])];
    stream.read_exact(&mut rest).unwrap();
    assert_eq!(rest.get(1), Some(&0), "the client is let in");
    stream
}

/// A broker that runs; killed if the test forgets it.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
    /// What was said on standard error and read already.
    log: String,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts and reads up to the line that says where it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_as_it_is(command.stderr(Stdio::piped()))
    }

    /// [`Running::start`] with a standard error that is the caller's.
    pub(crate) fn start_as_it_is(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            let read = out.read_line(&mut line).unwrap();
            assert!(read > 0, "the broker ended before it listened");
        }
        let address = line.split(' ').nth(2).unwrap().parse().unwrap();
        Self { child, out, log: String::new(), address }
    }

    /// The next line on standard output.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.out.read_line(&mut line).unwrap() > 0, "the broker ended");
        line
    }

    /// Where a listener listens that is announced next.
    pub(crate) fn next_listener(&mut self) -> SocketAddr {
        loop {
            let line = self.next_line();
            if line.starts_with("listening on ") {
                return line.split(' ').nth(2).unwrap().parse().unwrap();
            }
        }
    }

    /// Reads the log up to an event.
    pub(crate) fn wait_for_log(&mut self, event: &str) {
        let error = self.child.stderr.as_mut().unwrap();
        let mut byte = [0];
        let start = self.log.len();
        while !self.log[start..].contains(event) {
            assert!(error.read(&mut byte).unwrap() > 0, "the broker ended before {event}");
            self.log.push(char::from(byte[0]));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// As a crash would end it, without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end: exit code, the rest of standard output, standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut error) = (String::new(), std::mem::take(&mut self.log));
        self.out.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (self.child.wait().unwrap().code(), out, error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
