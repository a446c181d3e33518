//! The log: one line per event on standard error, for people or for machines.
//!
//! An event has a stable name in its field `event`, such as `connection_end`; everything else is fields. Values come
//! from clients too, so control characters never reach the log as they are.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use dunlin_auth::AUDIT_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::audit_file::AuditFile;

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

/// The hold on the log by which its level can be changed.
#[derive(Clone, Debug)]
pub(crate) struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    /// Whether security events have a file of their own and stay out of the log.
    audit_apart: bool,
}

impl LogHandle {
    /// Logs at this level from now on; one that means nothing changes nothing.
    pub(crate) fn set_level(&self, level: &str) {
        if let Some(mut filter) = filter(level) {
            if self.audit_apart {
                filter = filter.with_target(AUDIT_TARGET, LevelFilter::OFF);
            }
            // It fails only when the log is gone.
            let _ = self.filter.reload(filter);
        }
    }
}

/// Begins to log. The second call of a process does nothing.
///
/// # Errors
///
/// What the system says when the file of security events cannot be opened.
pub(crate) fn start(config: &LogConfig, audit: &AuditConfig) -> io::Result<LogHandle> {
    let mut filter =
        filter(&config.level).unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let audit = match &audit.file {
        Some(path) => {
            filter = filter.with_target(AUDIT_TARGET, LevelFilter::OFF);
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(AuditFile::open(path)?)
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_current_span(false)
                .with_span_list(false);
            Some(layer.with_filter(Targets::new().with_target(AUDIT_TARGET, Level::INFO)))
        }
        None => None,
    };
    let audit_apart = audit.is_some();
    let (filter, handle) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match config.format {
        Format::Text => layer.with_ansi(io::stderr().is_terminal()).event_format(Lines).boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).with(audit).try_init();
    Ok(LogHandle { filter: handle, audit_apart })
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
