//! The log's lines on their way to standard error: gathered in memory and written by a thread of their own, some at once, so
//! that no client waits for whoever reads them, and a thousand clients that come at once cost some calls of the system
//! instead of a thousand.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait to be written. A further line is dropped; the log says how many were.
const WAITING_MAX: usize = 1024 * 1024;
/// From the first line that waits to the write of all that came meanwhile. What is worse than information is not waited with.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the last lines.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes lines and has them written.
#[derive(Clone, Debug)]
pub(crate) struct LogLines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when the first line waits, and when there is no time to lose.
    filled: Condvar,
    /// Told when all that waited is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines lost that the log does not say yet.
    lost: u64,
    /// Whether what waits is to be written at once.
    urgent: bool,
    /// Whether the thread is writing what it took.
    writing: bool,
}

impl LogLines {
    /// Starts the thread, which writes to `out`.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        thread::Builder::new().name("dunlin-log".to_owned()).spawn(move || {
            let mut taken = Vec::new();
            loop {
                let lost = shared.gather(&mut taken);
                // There is nowhere to say that it cannot be said.
                let _ = out.write_all(&taken);
                let _ = out.flush();
                if lost > 0 {
                    tracing::warn!(
                        event = "log_lines_lost",
                        count = lost,
                        "whoever reads the log does not keep up: lines before this one are missing"
                    );
                }
            }
        })?;
        Ok(lines)
    }

    /// Waits until everything so far is written, though not for long: the reader may hang.
    pub(crate) fn finish(&self) {
        let until = Instant::now() + LAST_WAIT;
        let mut state = self.0.lock();
        state.urgent = true;
        self.0.filled.notify_one();
        while state.writing || !state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts a whole line behind those that wait.
    fn add(&self, line: &[u8], urgent: bool) {
        let mut state = self.0.lock();
        if !state.add(line) {
            return;
        }
        let first = state.waiting.len() == line.len();
        let hurries = urgent && !std::mem::replace(&mut state.urgent, true);
        drop(state);
        if first || hurries {
            self.0.filled.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes all of them; how many were lost meanwhile.
    fn gather(&self, taken: &mut Vec<u8>) -> u64 {
        let unpoisoned = PoisonError::into_inner;
        let mut state = self.lock();
        if std::mem::take(&mut state.writing) {
            self.emptied.notify_all();
        }
        while state.waiting.is_empty() {
            state = self.filled.wait(state).unwrap_or_else(unpoisoned);
        }
        let gathered = self.filled.wait_timeout_while(state, GATHERED_FOR, |it| !it.urgent);
        state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        state.take(taken)
    }
}

impl State {
    /// `false` if there is no room for it.
    fn add(&mut self, line: &[u8]) -> bool {
        let fits = self.waiting.len() + line.len() <= WAITING_MAX;
        if fits {
            self.waiting.extend_from_slice(line);
        } else {
            self.lost += 1;
        }
        fits
    }

    /// Takes what waits; how many lines were lost meanwhile.
    fn take(&mut self, taken: &mut Vec<u8>) -> u64 {
        taken.clear();
        std::mem::swap(taken, &mut self.waiting);
        self.urgent = false;
        self.writing = true;
        std::mem::take(&mut self.lost)
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, bytes: Vec::new(), urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, bytes: Vec::new(), urgent: *meta.level() <= Level::WARN }
    }
}

/// One event. It mostly comes in one piece, and is added when it is complete.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a LogLines,
    bytes: Vec<u8>,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && bytes.ends_with(b"\n") {
            self.lines.add(bytes, self.urgent);
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.lines.add(&self.bytes, self.urgent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says what is written, each time it is.
    struct Out(Sender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (LogLines, Receiver<Vec<u8>>) {
        let (sender, written) = channel();
        (LogLines::start(Out(sender)).expect("a thread"), written)
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let (lines, written) = lines();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let lines = lines.clone();
                thread::spawn(move || {
                    for number in 0..500 {
                        let mut line = lines.make_writer();
                        // In one piece, or in two.
                        line.write_all(format!("{thread} ").as_bytes()).expect("room");
                        line.write_all(format!("{number}\n").as_bytes()).expect("room");
                        drop(line);
                        lines.add(format!("{thread} {number} again\n").as_bytes(), false);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        lines.finish();
        let text: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(text).expect("UTF-8");
        for thread in 0..4 {
            let prefix = format!("{thread} ");
            let own: Vec<&str> = text.lines().filter_map(|it| it.strip_prefix(&prefix)).collect();
            let expected: Vec<String> = (0..500)
                .flat_map(|number| [format!("{number}"), format!("{number} again")])
                .collect();
            assert_eq!(own, expected);
        }
        assert_eq!(text.lines().count(), 4_000);
    }

    #[test]
    fn lines_without_room_are_counted() {
        let mut state = State::default();
        let line = vec![b'x'; WAITING_MAX / 2];
        assert_eq!(
            [state.add(&line), state.add(&line), state.add(b"y"), state.add(b"z")],
            [true, true, false, false]
        );
        let mut taken = Vec::new();
        assert_eq!((state.take(&mut taken), taken.len()), (2, WAITING_MAX));
        assert!(state.add(b"y"));
        assert_eq!((state.take(&mut taken), &*taken), (0, &b"y"[..]));
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        struct Hangs;
        impl Write for Hangs {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                loop {
                    thread::park();
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = LogLines::start(Hangs).expect("a thread");
        lines.add(b"a\n", false);
        let began = Instant::now();
        lines.finish();
        assert!(began.elapsed() >= LAST_WAIT);
    }
}
