//! The committer's thread: take a group, prepare, commit, finish; and look after the store in between.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::Submission;
use super::queue::{Queue, Woken};
use super::watchdog::Alarm;
use crate::backend::{Room, Store};
use crate::batch::{Batch, Durability};
use crate::error::StoreError;
use crate::id::MessageId;

pub(super) fn spawn<S: Submission>(
    store: Box<dyn Store>,
    next_message: MessageId,
    queue: Arc<Queue<S>>,
    alarm: Alarm,
) -> io::Result<JoinHandle<Result<(), StoreError>>> {
    let writer = Writer {
        store,
        queue,
        batch: Batch::new(next_message),
        group: VecDeque::new(),
        failure: None,
        alarm,
    };
    Builder::new().name("dunlin-committer".into()).spawn(move || writer.run())
}

struct Writer<S> {
    store: Box<dyn Store>,
    queue: Arc<Queue<S>>,
    batch: Batch,
    group: VecDeque<(S, usize)>,
    failure: Option<StoreError>,
    alarm: Alarm,
}

impl<S: Submission> Writer<S> {
    fn run(mut self) -> Result<(), StoreError> {
        step_back(self.queue.niceness());
        let mut wait = None;
        loop {
            let woken = self.queue.take_group(&mut self.group, wait);
            if woken == Woken::Closed {
                break;
            }
            let submissions = self.group.len();
            // A panic in a submission or in the store must not leave everybody waiting for ever. What the group held is
            // dropped unfinished: it was not acknowledged.
            let worked = catch_unwind(AssertUnwindSafe(|| self.work_off_group()));
            if worked.is_err() {
                self.group.clear();
                self.fail(StoreError::Stopped);
            }
            if woken == Woken::Group {
                self.queue.finished(submissions);
            }
            let looked = catch_unwind(AssertUnwindSafe(|| self.look_after(woken == Woken::Idle)));
            wait = looked.unwrap_or_else(|_| {
                self.fail(StoreError::Stopped);
                None
            });
        }
        self.queue.doing("closing the store");
        let closed = match self.failure {
            None => self.store.close(),
            Some(failure) => Err(failure),
        };
        self.queue.end();
        closed
    }

    fn work_off_group(&mut self) {
        if self.group.is_empty() {
            return;
        }
        // It came back after all, but the broker has given it up.
        if self.failure.is_none() && self.queue.has_failed() {
            self.failure = Some(StoreError::Stopped);
        }
        if self.failure.is_some() {
            self.finish_group(None);
            return;
        }
        self.queue.doing("preparing a commit");
        let room = self.store.room();
        self.prepare(room);
        let mut error = self.commit();
        // What frees room, and the state of sessions, must get through.
        if error.is_some() && room == Room::All {
            for (submission, _) in self.group.iter_mut().rev() {
                submission.take_back();
            }
            self.batch.renew();
            self.prepare(Room::NoMessages);
            error = self.commit();
        }
        self.queue.doing("telling those who wait for a commit");
        self.finish_group(error.as_ref());
        self.batch.renew();
    }

    fn prepare(&mut self, room: Room) {
        for (submission, _) in &mut self.group {
            submission.prepare(&mut self.batch, room);
        }
    }

    /// The error, if it is one that only this batch suffers from; a fatal one is kept in `failure`.
    fn commit(&mut self) -> Option<StoreError> {
        if self.batch.is_empty() {
            return None;
        }
        self.batch.seal();
        self.queue.doing("a commit, which waits for the disk");
        let began = Instant::now();
        let committed = self.store.commit(&self.batch);
        let awaited = self.batch.durability() > Durability::Memory;
        self.queue.committed(awaited.then(|| began.elapsed()), committed.is_ok());
        let error = committed.err()?;
        if error.is_fatal() {
            self.fail(error);
            return None;
        }
        Some(error)
    }

    /// Lets the store do what it has put off; how long it can wait for the next time.
    fn look_after(&mut self, idle: bool) -> Option<Duration> {
        if self.failure.is_some() {
            return None;
        }
        self.queue.doing("looking after the store");
        match self.store.look_after(idle) {
            Ok(next) => next,
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Finishes all with the error of their batch, or that of the store, or success.
    fn finish_group(&mut self, error: Option<&StoreError>) {
        let error = error.or(self.failure.as_ref());
        for (submission, _) in self.group.drain(..) {
            submission.finish(error.map_or(Ok(()), Err));
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.queue.fail();
        self.alarm.ring(self.failure.insert(error));
    }
}

/// Lets other threads go first where processors are short. That it cannot be done costs nothing but their time.
fn step_back(niceness: i32) {
    #[cfg(target_os = "linux")]
    if niceness > 0 {
        let _ = rustix::process::nice(niceness);
    }
    let _ = niceness;
}
