//! One connection: a task that polls rumqttc's event loop, and the way to ask it for something.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Outcome, v3, v5};

const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The client half of either protocol family.
pub(crate) enum Sender {
    V3(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// What the broker said to the one request that is under way.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted(Value),
    Reasons(Vec<u8>),
    Published(u8),
}

pub(crate) struct Link {
    pub(crate) sender: Sender,
    answers: UnboundedReceiver<Answer>,
    /// None once its end was waited for.
    task: Option<JoinHandle<()>>,
    leaves: Arc<AtomicBool>,
}

/// The polling task's half.
pub(crate) struct Reporter {
    name: String,
    answers: UnboundedSender<Answer>,
    leaves: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn new<T>(name: String, sender: Sender, poll: impl FnOnce(Reporter) -> T) -> Self
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let (sending, answers) = unbounded_channel();
        let leaves = Arc::new(AtomicBool::new(false));
        let reporter = Reporter { name, answers: sending, leaves: Arc::clone(&leaves) };
        Self { sender, answers, task: Some(tokio::spawn(poll(reporter))), leaves }
    }

    pub(crate) async fn answer(&mut self) -> Result<Answer, Box<dyn Error>> {
        Ok(timeout(ANSWER_TIME, self.answers.recv()).await?.ok_or("the connection ended")?)
    }

    /// From now on the end of the connection is ours and no event.
    pub(crate) fn leaves(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn ended(&mut self) {
        if let Some(task) = self.task.take() {
            let _ = timeout(ANSWER_TIME, task).await;
        }
    }

    /// The event loop owns the socket and goes with its task.
    pub(crate) async fn cut(&mut self) {
        self.leaves();
        if let Some(task) = &self.task {
            task.abort();
        }
        self.ended().await;
    }
}

impl Answer {
    pub(crate) fn reasons(self) -> Outcome {
        match self {
            Self::Reasons(reasons) => Ok(json!({ "reasons": reasons })),
            other => Err(format!("not an answer to a subscription: {other:?}").into()),
        }
    }

    pub(crate) fn reason(self) -> Outcome {
        match self {
            Self::Published(reason) => Ok(json!({ "reason": reason })),
            other => Err(format!("not an answer to a publication: {other:?}").into()),
        }
    }
}

impl Reporter {
    pub(crate) fn answer(&self, answer: Answer) {
        // Nobody waits any more once the driver has given the client up.
        let _ = self.answers.send(answer);
    }

    pub(crate) fn message(&self, mut message: Value) {
        message["event"] = json!("message");
        message["client"] = json!(self.name);
        println!("{message}");
    }

    pub(crate) fn closed(&self, reason: Option<u8>) {
        if !self.leaves.load(Ordering::Relaxed) {
            println!("{}", json!({ "event": "closed", "client": self.name, "reason": reason }));
        }
    }
}

impl Sender {
    pub(crate) async fn subscribe(&self, command: &Value) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V3(client) => v3::subscribe(client, command).await,
            Self::V5(client) => v5::subscribe(client, command).await,
        }
    }

    pub(crate) async fn unsubscribe(&self, filter: &str) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V3(client) => Ok(client.unsubscribe(filter).await?),
            Self::V5(client) => Ok(client.unsubscribe(filter).await?),
        }
    }

    pub(crate) async fn publish(&self, command: &Value) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V3(client) => v3::publish(client, command).await,
            Self::V5(client) => v5::publish(client, command).await,
        }
    }

    pub(crate) async fn disconnect(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::V3(client) => Ok(client.disconnect().await?),
            Self::V5(client) => Ok(client.disconnect().await?),
        }
    }
}
