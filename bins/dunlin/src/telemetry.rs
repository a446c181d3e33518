//! The log: one line per event on standard error, for people or for machines.
//!
//! An event has a stable name in its field `event`, such as `connection_end`; everything else is fields. Values come
//! from clients too, so control characters never reach the log as they are.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dunlin_broker::audit::{ADMIN_TARGET, TARGET as AUDIT_TARGET};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{Filtered, LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::audit_file::{AuditFile, Opened};
use crate::failure::Failure;
use crate::log_lines::LogLines;
use crate::problem::{Origin, Problem};

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LogConfig {
    /// A level, or levels by module: what [`filter`] takes.
    pub(crate) level: String,
    pub(crate) format: Format,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// For people; in colour on a terminal.
    Text,
    /// An object per line.
    Json,
}

/// The filter that `level` means, or none if it means nothing.
pub(crate) fn filter(level: &str) -> Option<Targets> {
    // `Targets` takes a lone word that is no level for a module, which would hide `--log inof`, and nothing for `error`.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let legal = |part: &str| part.contains('=') || is_level(part);
    if !level.split(',').all(legal) {
        return None;
    }
    level.parse().ok()
}

/// Where security events are kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AuditConfig {
    /// None: in the log.
    pub(crate) file: Option<PathBuf>,
}

/// Why there can be no file of security events there.
pub(crate) fn audit_failure(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be opened: {error}", path.display());
    Failure::Configuration(vec![Problem::new(Origin::Section("audit".to_owned()), message)])
}

/// What of the log goes where.
type Switch = reload::Handle<Targets, Registry>;
/// What is between the log and the file of security events.
type Rest = Layered<
    Filtered<Box<dyn Layer<Registry> + Send + Sync>, reload::Layer<Targets, Registry>, Registry>,
    Registry,
>;

/// The hold on the log, by which it can be changed.
#[derive(Clone)]
pub(crate) struct LogHandle {
    filter: Switch,
    audit_filter: reload::Handle<Targets, Rest>,
    audit: AuditFile,
    lines: LogLines,
}

impl LogHandle {
    /// Logs as this says from now on, with security events apart or not, and in another file if there is one. A level that means
    /// nothing changes nothing.
    pub(crate) fn change(&self, log: &LogConfig, other_file: Option<Opened>, apart: bool) {
        if let Some(opened) = other_file {
            self.audit.use_file(opened);
        }
        // They fail only when the log is gone.
        let _ = self.audit_filter.reload(audit_filter(apart));
        if let Some(filter) = filter(&log.level) {
            let _ = self.filter.reload(log_filter(filter, apart));
        }
    }

    /// Goes on with this file of security events, in the place of one that was moved away.
    pub(crate) fn reopen(&self, opened: Opened) {
        self.audit.use_file(opened);
    }

    /// Security events lost since the start, as they are counted.
    pub(crate) fn audit_events_lost(&self) -> Arc<AtomicU64> {
        self.audit.lost()
    }

    /// Waits until the lines and the security events so far are written.
    pub(crate) fn finish(&self) {
        self.audit.finish();
        self.lines.finish();
    }
}

/// What stands in the log: all but security events, if those have a file. Administrative ones stand in both.
fn log_filter(filter: Targets, audit_apart: bool) -> Targets {
    if !audit_apart {
        return filter;
    }
    let level = filter.default_level().unwrap_or(LevelFilter::OFF);
    filter.with_target(AUDIT_TARGET, LevelFilter::OFF).with_target(ADMIN_TARGET, level)
}

/// What stands in the file of security events.
fn audit_filter(is_there: bool) -> Targets {
    Targets::new()
        .with_target(AUDIT_TARGET, if is_there { LevelFilter::INFO } else { LevelFilter::OFF })
}

/// Begins to log. The second call of a process does nothing.
///
/// # Errors
///
/// What the system says when the file of security events cannot be opened.
pub(crate) fn start(config: &LogConfig, audit: &AuditConfig) -> io::Result<LogHandle> {
    let filter = filter(&config.level).unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let opened = audit.file.as_deref().map(Opened::at).transpose()?;
    let apart = opened.is_some();
    let file = AuditFile::start()?;
    if let Some(opened) = opened {
        file.use_file(opened);
    }
    let audit_layer = tracing_subscriber::fmt::layer()
        .with_writer(file.clone())
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false);
    let (audit_switch, audit_filter) = reload::Layer::new(audit_filter(apart));
    let (filter, handle) = reload::Layer::new(log_filter(filter, apart));
    let lines = LogLines::start(io::stderr())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    let layer = match config.format {
        Format::Text => layer.with_ansi(io::stderr().is_terminal()).event_format(Lines).boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let log = tracing_subscriber::registry().with(layer.with_filter(filter));
    let _ = log.with(audit_layer.with_filter(audit_switch)).try_init();
    Ok(LogHandle { filter: handle, audit_filter, audit: file, lines })
}

/// `2026-11-20T05:43:00.123456Z  INFO connection_end: connection ended client_id=a reason=keep_alive_timeout`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        SystemTime.format_time(&mut out)?;
        let metadata = event.metadata();
        let level = metadata.level();
        if out.has_ansi_escapes() {
            write!(out, " {}{level:>5}\x1b[0m", colour(*level))?;
        } else {
            write!(out, " {level:>5}")?;
        }
        // Events of other libraries have no name of their own: their module stands for it.
        let name = if fields.name.is_empty() { metadata.target() } else { &fields.name };
        write!(out, " {name}")?;
        if !fields.message.is_empty() {
            write!(out, ": {}", fields.message)?;
        }
        writeln!(out, "{}", fields.rest)
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// An event taken apart: its name, its words, and all other fields as ` key=value`.
#[derive(Default)]
struct Fields {
    name: String,
    message: String,
    rest: String,
}

impl Fields {
    fn record(&mut self, field: &Field, text: &str) {
        match field.name() {
            "event" => escape(text, &mut self.name),
            "message" => escape(text, &mut self.message),
            name => {
                let _ = write!(self.rest, " {name}=");
                value(text, &mut self.rest);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, &format!("{value:?}"));
    }
}

/// A value that could be taken for more than one word is quoted, so that nobody's client id looks like a further field.
fn value(text: &str, out: &mut String) {
    let breaks =
        |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '=');
    if text.is_empty() || text.contains(breaks) {
        let _ = write!(out, "{text:?}");
    } else {
        out.push_str(text);
    }
}

/// Keeps an event on its line and a terminal's escape sequences out of it.
fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        if letter.is_control() {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer =
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.event_format(Lines));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().expect("no panic while locked").clone();
        let text = String::from_utf8(bytes).expect("a log of UTF-8");
        let (time, rest) = text.split_once(' ').expect("a time first");
        assert!(time.ends_with('Z'), "{time}");
        rest.to_owned()
    }

    #[test]
    fn an_event_is_one_line_with_its_name_first() {
        let line = logged(|| {
            tracing::info!(event = "connection_end", client_id = "a b", bytes = 3_u64, "left")
        });
        assert_eq!(line, " INFO connection_end: left client_id=\"a b\" bytes=3\n");
        let line = logged(|| tracing::warn!(target: "library", "words"));
        assert_eq!(line, " WARN library: words\n");
    }

    #[test]
    fn what_clients_say_cannot_forge_lines_or_fields() {
        let forged = "x\n2026 ERROR\x1b[31m";
        let line = logged(
            || tracing::info!(event = "connection_end", id = forged, shown = %forged, "{forged}"),
        );
        let escaped = "x\\n2026 ERROR\\u{1b}[31m";
        assert_eq!(
            line,
            format!(" INFO connection_end: {escaped} id=\"{escaped}\" shown=\"{escaped}\"\n")
        );
        let line =
            logged(|| tracing::info!(event = "e", id = %"\"a\" reason=\"none\"", empty = ""));
        assert_eq!(line, " INFO e id=\"\\\"a\\\" reason=\\\"none\\\"\" empty=\"\"\n");
    }

    #[test]
    fn levels() {
        for legal in ["info", "off", "warn,dunlin_broker=debug", "dunlin=trace"] {
            assert!(filter(legal).is_some(), "{legal}");
        }
        for wrong in ["", "inof", "info,", "dunlin=loud"] {
            assert!(filter(wrong).is_none(), "{wrong}");
        }
    }
}
