//! The file of security and administrative events, written by a thread of its own so that nobody waits for its disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Events that wait for the disk. A further one is dropped; the file says how many were.
const WAITING_MAX: usize = 10_000;
/// How long the end of the process waits for the last ones.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes events and hands them to the thread that writes. Until a file is opened it has nowhere to put them.
#[derive(Clone, Debug)]
pub(crate) struct AuditFile {
    waiting: SyncSender<Asked>,
    shared: Arc<Shared>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Asked {
    /// To write an event.
    Event(Vec<u8>),
    /// To look whether there is another file.
    Look,
    /// To say when all before this is done.
    Say(SyncSender<()>),
}

#[derive(Debug, Default)]
struct Shared {
    /// The file to go on with, if it is another one.
    next: Mutex<Option<Opened>>,
    /// Events lost that the file does not say yet.
    unsaid: AtomicU64,
    /// Events lost since the start.
    lost: Arc<AtomicU64>,
}

/// A file that is open for appending.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    file: File,
}

impl Opened {
    /// Opens the file, which is made for its owner alone if it is not there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { path: path.to_owned(), file: options.open(path)? })
    }
}

impl Shared {
    fn lose(&self, count: u64) {
        self.unsaid.fetch_add(count, Ordering::Relaxed);
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    fn take_next(&self) -> Option<Opened> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AuditFile {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (waiting, asked) = sync_channel(WAITING_MAX);
        let shared: Arc<Shared> = Arc::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("dunlin-audit".to_owned()).spawn(move || {
            let mut out = None;
            let mut state = Writing::default();
            for asked in &asked {
                if let Some(Opened { path, file }) = writer.take_next() {
                    out = Some(file);
                    state = Writing { path, ..Writing::default() };
                }
                state.handle(asked, &mut out, &writer);
            }
        })?;
        Ok(Self { waiting, shared })
    }

    /// Goes on with this file: another one, or the same path after somebody has moved the old one away.
    pub(crate) fn use_file(&self, opened: Opened) {
        *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        // If there is no room, it looks before the next event anyway.
        let _ = self.waiting.try_send(Asked::Look);
    }

    /// Events lost since the start.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.lost)
    }

    /// Waits until everything so far is written, though not for long: the disk may hang.
    pub(crate) fn finish(&self) {
        let (said, done) = sync_channel(1);
        if self.waiting.try_send(Asked::Say(said)).is_ok() {
            let _ = done.recv_timeout(LAST_WAIT);
        }
    }
}

/// How the writing goes.
#[derive(Debug, Default)]
struct Writing {
    path: PathBuf,
    /// Whether the last event could not be written. That is said once, and once more when it is over.
    fails: bool,
    /// Whether a part of a line was written.
    torn: bool,
}

impl Writing {
    fn handle(&mut self, asked: Asked, out: &mut Option<impl Write>, shared: &Shared) {
        match (asked, out) {
            (Asked::Event(event), Some(out)) => self.event(&event, out, shared),
            (Asked::Event(_), None) | (Asked::Look, _) => {}
            // Whoever asked may have waited long enough.
            (Asked::Say(said), _) => drop(said.try_send(())),
        }
    }

    fn event(&mut self, event: &[u8], out: &mut impl Write, shared: &Shared) {
        let lost = shared.unsaid.swap(0, Ordering::Relaxed);
        let mut bytes = Vec::with_capacity(event.len() + 64);
        if self.torn {
            bytes.push(b'\n');
        }
        if lost > 0 {
            let line = format!("{{\"event\":\"audit_events_lost\",\"count\":{lost}}}\n");
            bytes.extend_from_slice(line.as_bytes());
        }
        bytes.extend_from_slice(event);
        match self.put(&bytes, out) {
            Ok(()) if self.fails => {
                self.fails = false;
                tracing::info!(
                    event = "audit_written_again", file = %self.path.display(), lost,
                    "security events are written to their file again"
                );
            }
            Ok(()) => {}
            Err(error) => {
                // What was to be said is not said; only this event is a new loss.
                shared.unsaid.fetch_add(lost, Ordering::Relaxed);
                shared.lose(1);
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::error!(
                        event = "audit_not_written", file = %self.path.display(), %error,
                        "security events are lost and counted until their file can be written: make room on its disk, or \
                         name another one in [audit] and reload"
                    );
                }
            }
        }
    }

    /// Writes all of it, and notes whether a part of it is there if not.
    fn put(&mut self, mut bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        while !bytes.is_empty() {
            match out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = true;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.torn = false;
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for AuditFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { file: self, bytes: Vec::new() }
    }
}

/// One event, handed over as a whole when it is complete.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    file: &'a AuditFile,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Err(TrySendError::Full(_)) = self.file.waiting.try_send(Asked::Event(bytes)) {
            self.file.shared.lose(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn handle_all(
        asked: &Receiver<Asked>,
        disk: &mut Option<Disk>,
        state: &mut Writing,
        shared: &Shared,
    ) {
        while let Ok(asked) = asked.try_recv() {
            state.handle(asked, disk, shared);
        }
    }

    #[test]
    fn events_without_room_are_counted_and_said() {
        let (waiting, asked) = sync_channel(1);
        let file = AuditFile { waiting, shared: Arc::default() };
        let write = |event: &str| {
            file.make_writer().write_all(event.as_bytes()).expect("it takes everything");
        };
        ["one\n", "two\n", "three\n"].into_iter().for_each(write);
        assert_eq!(file.lost().load(Ordering::Relaxed), 2);
        let mut disk = Some(Disk { written: Vec::new(), room: 1_000 });
        let mut state = Writing::default();
        handle_all(&asked, &mut disk, &mut state, &file.shared);
        write("four\n");
        handle_all(&asked, &mut disk, &mut state, &file.shared);
        let written = disk.expect("it is there").written;
        let text = String::from_utf8(written).expect("UTF-8");
        // The loss is said before the first event that is written after it was seen.
        assert_eq!(text, "{\"event\":\"audit_events_lost\",\"count\":2}\none\nfour\n");
    }

    #[test]
    fn a_full_disk_tears_one_line_and_loses_what_it_has_no_room_for() {
        let shared = Shared::default();
        let mut state = Writing::default();
        let mut disk = Some(Disk { written: Vec::new(), room: 6 });
        let mut event = |text: &str, disk: &mut Option<Disk>| {
            state.handle(Asked::Event(text.as_bytes().to_vec()), disk, &shared);
        };
        ["one\n", "two\n", "three\n"].into_iter().for_each(|text| event(text, &mut disk));
        assert_eq!(shared.lost.load(Ordering::Relaxed), 2);
        disk.as_mut().expect("it is there").room = 1_000;
        event("four\n", &mut disk);
        let text = String::from_utf8(disk.expect("it is there").written).expect("UTF-8");
        assert_eq!(text, "one\ntw\n{\"event\":\"audit_events_lost\",\"count\":2}\nfour\n");
        assert_eq!(shared.lost.load(Ordering::Relaxed), 2);
    }
}
