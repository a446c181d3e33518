//! The file of security events, written by a thread of its own so that no client waits for its disk.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tracing_subscriber::fmt::MakeWriter;

/// Events that wait for the disk. A further one is dropped; the file says how many were.
const WAITING_MAX: usize = 10_000;

/// Takes events and hands them to the thread that writes.
#[derive(Clone, Debug)]
pub(crate) struct AuditFile {
    waiting: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl AuditFile {
    /// Appends to the file, which is made for its owner alone if it is not there.
    ///
    /// # Errors
    ///
    /// What the system says when the file cannot be opened, or gives no thread.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let (waiting, events) = sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new()
            .name("dunlin-audit".to_owned())
            .spawn(move || write_all(file, &events, &counted))?;
        Ok(Self { waiting, dropped })
    }
}

/// Until the last one who logs is gone. A disk that takes nothing loses events, and they are counted like those without room.
fn write_all(mut file: impl Write, events: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    for event in events {
        let lost = dropped.swap(0, Ordering::Relaxed);
        let report = match lost {
            0 => String::new(),
            _ => format!("{{\"event\":\"audit_events_lost\",\"count\":{lost}}}\n"),
        };
        let written = file.write_all(report.as_bytes()).and_then(|()| file.write_all(&event));
        if let Err(error) = written {
            dropped.fetch_add(lost + 1, Ordering::Relaxed);
            tracing::error!(event = "audit_not_written", %error, "a security event is lost");
        }
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
        if let Err(TrySendError::Full(_)) = self.file.waiting.try_send(bytes) {
            self.file.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_room_are_counted_and_said() {
        let (waiting, events) = sync_channel(1);
        let file = AuditFile { waiting, dropped: Arc::default() };
        for event in ["one\n", "two\n", "three\n"] {
            file.make_writer().write_all(event.as_bytes()).expect("it takes everything");
        }
        let dropped = Arc::clone(&file.dropped);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        drop(file);
        let mut written = Vec::new();
        write_all(&mut written, &events, &dropped);
        let expected = "{\"event\":\"audit_events_lost\",\"count\":2}\none\n";
        assert_eq!(String::from_utf8(written).as_deref(), Ok(expected));
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }
}
