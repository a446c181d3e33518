//! The committer's thread: take a group, prepare, commit, finish.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::Submission;
use super::queue::{Outcome, Queue};
use crate::backend::Store;
use crate::batch::Batch;
use crate::error::StoreError;
use crate::id::MessageId;

type OnFailed = Box<dyn FnOnce(&StoreError) + Send>;

pub(super) fn spawn<S: Submission>(
    store: Box<dyn Store>,
    next_message: MessageId,
    queue: Arc<Queue<S>>,
    on_failed: OnFailed,
) -> io::Result<JoinHandle<Result<(), StoreError>>> {
    let writer = Writer {
        store,
        queue,
        batch: Batch::new(next_message),
        group: VecDeque::new(),
        failure: None,
        on_failed: Some(on_failed),
    };
    Builder::new().name("dunlin-committer".into()).spawn(move || writer.run())
}

struct Writer<S> {
    store: Box<dyn Store>,
    queue: Arc<Queue<S>>,
    batch: Batch,
    group: VecDeque<(S, usize)>,
    failure: Option<StoreError>,
    on_failed: Option<OnFailed>,
}

impl<S: Submission> Writer<S> {
    fn run(mut self) -> Result<(), StoreError> {
        while self.queue.take_group(&mut self.group) {
            let submissions = self.group.len();
            // A panic in a submission or in the store must not leave everybody waiting for ever. What the group held is
            // dropped unfinished: it was not acknowledged.
            let outcome =
                catch_unwind(AssertUnwindSafe(|| self.work_off_group())).unwrap_or_else(|_| {
                    self.group.clear();
                    self.fail(StoreError::Stopped);
                    Outcome::Failed
                });
            self.queue.finished(submissions, outcome);
        }
        match self.failure {
            None => self.store.close(),
            Some(failure) => Err(failure),
        }
    }

    fn work_off_group(&mut self) -> Outcome {
        if self.failure.is_some() {
            self.finish_group(None);
            return Outcome::Skipped;
        }
        for (submission, _) in &mut self.group {
            submission.prepare(&mut self.batch);
        }
        let (outcome, error) = self.commit();
        self.finish_group(error.as_ref());
        self.batch.renew();
        outcome
    }

    /// The error, if it is one that only this batch suffers from; a fatal one is kept in `failure`.
    fn commit(&mut self) -> (Outcome, Option<StoreError>) {
        if self.batch.is_empty() {
            return (Outcome::Skipped, None);
        }
        self.batch.seal();
        match self.store.commit(&self.batch) {
            Ok(()) => (Outcome::Committed, None),
            Err(error) if error.is_fatal() => {
                self.fail(error);
                (Outcome::Failed, None)
            }
            Err(error) => (Outcome::Failed, Some(error)),
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
        let error = self.failure.insert(error);
        if let Some(on_failed) = self.on_failed.take() {
            on_failed(error);
        }
    }
}
