//! Connections to a source: so many at the most, kept for the next question, made again when they break.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::source::{Found, Question, SourceError, SourceFailure, UserSource};
use crate::turns::{Crowded, Turns};

/// How long a connection is kept that nobody uses. It is dropped when the next question comes.
const IDLE_MAX: Duration = Duration::from_secs(60);

pub(super) struct Pool<S: UserSource> {
    source: S,
    turns: Turns,
    /// The one that was used last is the last. At most as many as there are turns.
    idle: Mutex<Vec<(S::Connection, Instant)>>,
}

impl<S: UserSource> Pool<S> {
    pub(super) fn new(source: S, connections_max: usize, waiting_max: usize) -> Self {
        Self {
            source,
            turns: Turns::new(connections_max, waiting_max),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) const fn source(&self) -> &S {
        &self.source
    }

    /// The answer to a question, over a connection that is there or a new one. Whoever gives up waiting drops the connection
    /// too: what was asked last may still be under way on it.
    pub(super) async fn ask(&self, question: &Question) -> Result<Found, SourceError> {
        let crowded =
            |crowded: Crowded| SourceError::new(SourceFailure::Crowded, crowded.to_string());
        let _turn = self.turns.take().await.map_err(crowded)?;
        if let Some(mut connection) = self.idle() {
            match self.source.look_up(&mut connection, question).await {
                Ok(found) => {
                    self.keep(connection);
                    return Ok(found);
                }
                // The source was away meanwhile, and the others broke with this one.
                Err(error) if error.failure == SourceFailure::Broken => self.forget_idle(),
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.source.connect().await?;
        let found = self.source.look_up(&mut connection, question).await?;
        self.keep(connection);
        Ok(found)
    }

    fn idle(&self) -> Option<S::Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = idle.pop().filter(|(_, since)| since.elapsed() < IDLE_MAX);
        if fresh.is_none() {
            // The others are older.
            idle.clear();
        }
        fresh.map(|(connection, _)| connection)
    }

    fn keep(&self, connection: S::Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((connection, Instant::now()));
    }

    /// Drops the connections that nobody uses.
    pub(super) fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
