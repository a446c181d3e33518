//! The socket in the data directory by which `dunlin check --diff` and `dunlin ban` talk to the running broker.
//!
//! The first line of a question says what it is about. `plan`: what a reload would do; behind the word stands the name of
//! another configuration file and below it its content, or nothing: the broker's own file as it is now. `ban list`, `ban add`
//! and `ban remove`: below stands whom it is about, as in the file of bans. The answer is what there is to print, or what is
//! wrong. The socket is the broker's user's: whoever else may read the data directory cannot ask.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::ban::BanRequest;
use crate::failure::Failure;
use crate::sources::Candidate;

/// The socket's name in the data directory.
const NAME: &str = "control.sock";
/// Bytes of a question. A longer one is not answered.
const QUESTION_BYTES_MAX: u64 = 1 << 20;
/// How long a question may take to arrive. Then it is not answered.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);
/// How long the answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Questions that wait for their answer. Further ones wait to be taken.
const QUESTIONS_MAX: usize = 1;
/// Begins the question what a reload would do.
const PLAN: &str = "plan";
/// Stands before an answer that says what would change, and before one that says what is wrong.
const GOOD: &str = "good\n";
const REFUSED: &str = "refused\n";

/// What somebody wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ask {
    /// To know what a reload would do, with this in the place of the broker's own file.
    Plan(Option<Candidate>),
    /// To see or change who is banned.
    Bans(BanRequest),
}

impl Ask {
    /// None if nobody knows what is asked.
    fn read(question: &str) -> Option<Self> {
        let (first, text) = question.split_once('\n').unwrap_or((question, ""));
        if let Some(verb) = first.strip_prefix("ban ") {
            return BanRequest::read(verb, text).map(Self::Bans);
        }
        match first.strip_prefix(PLAN)? {
            "" => Some(Self::Plan(None)),
            name => {
                let name = name.strip_prefix(' ')?.to_owned();
                Some(Self::Plan(Some(Candidate { name, text: text.to_owned() })))
            }
        }
    }
}

/// Somebody waits for an answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    answer: oneshot::Sender<Result<String, String>>,
}

impl Question {
    pub(crate) fn answer(self, answer: Result<String, Failure>) {
        // Whoever has gone away needs none.
        let _ = self.answer.send(answer.map_err(|failure| failure.to_string()));
    }
}

/// The broker's side. Dropped, it removes the socket.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    questions: mpsc::Receiver<Question>,
}

impl Control {
    /// Listens in the data directory, of which this process is the only user: a socket that is there was left behind.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (asking, questions) = mpsc::channel(QUESTIONS_MAX);
        tokio::spawn(serve(listener, asking));
        Ok(Self { path, questions })
    }

    pub(crate) async fn next(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One question at a time, until nobody answers any more.
async fn serve(listener: UnixListener, asking: mpsc::Sender<Question>) {
    while !asking.is_closed() {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = serve_one(stream, &asking).await;
    }
}

async fn serve_one(
    mut stream: tokio::net::UnixStream,
    asking: &mpsc::Sender<Question>,
) -> io::Result<()> {
    let mut text = String::new();
    let mut question = (&mut stream).take(QUESTION_BYTES_MAX);
    tokio::time::timeout(QUESTION_DEADLINE, question.read_to_string(&mut text)).await??;
    let Some(ask) = Ask::read(&text) else {
        let answer =
            format!("{REFUSED}dunlin: the running broker does not understand the question\n");
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    };
    let (answer, answered) = oneshot::channel();
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    asking.send(Question { ask, answer }).await.map_err(gone)?;
    let (head, text) = match answered.await {
        Ok(Ok(text)) => (GOOD, text),
        Ok(Err(text)) => (REFUSED, text),
        Err(_) => return Ok(()),
    };
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Asks the broker that runs on this data directory what a reload would do.
pub(crate) fn ask_plan(data_dir: &Path, candidate: Option<&Candidate>) -> Result<String, Failure> {
    let question = match candidate {
        Some(Candidate { name, text }) => format!("{PLAN} {}\n{text}", name.replace('\n', " ")),
        None => PLAN.to_owned(),
    };
    ask(data_dir, &question)
}

/// Asks the broker that runs on this data directory.
pub(crate) fn ask(data_dir: &Path, question: &str) -> Result<String, Failure> {
    let answer = exchange(&data_dir.join(NAME), question).map_err(|error| {
        Failure::Run(format!("no running broker answers in {}: {error}", data_dir.display()))
    })?;
    match (answer.strip_prefix(GOOD), answer.strip_prefix(REFUSED)) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(text)) => Err(Failure::Refused(text.to_owned())),
        (None, None) => Err(Failure::Run("the running broker gave no answer".to_owned())),
    }
}

fn exchange(path: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.write_all(question.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let candidate = |name: &str, text: &str| {
            Some(Ask::Plan(Some(Candidate { name: name.to_owned(), text: text.to_owned() })))
        };
        for (question, expected) in [
            ("plan", Some(Ask::Plan(None))),
            ("plan ban list\n[log]\n", candidate("ban list", "[log]\n")),
            ("ban list\n", Some(Ask::Bans(BanRequest::List))),
            ("", None),
            ("planned", None),
            ("ban everybody", None),
            ("stop", None),
        ] {
            assert_eq!(Ask::read(question), expected, "{question}");
        }
    }
}
