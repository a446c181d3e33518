//! Messages, read back by their ids.

use std::path::PathBuf;
use std::sync::Arc;

use dunlin_codec::TopicName;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{about, store_error};
use super::layout::{header, publication, retained};
use super::schema::open_reader;
use crate::backend::{Reader, RetainedRecord};
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo};
use crate::record::Publication;

/// Reads through a connection of its own, opened when first asked.
#[derive(Debug)]
pub(super) struct DiskReader {
    file: PathBuf,
    connection: Option<Connection>,
}

impl DiskReader {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, connection: None }
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(open_reader(&self.file).map_err(store_error)?);
        }
        self.connection.as_ref().ok_or(StoreError::Stopped)
    }
}

impl Reader for DiskReader {
    fn read(
        &mut self,
        ids: &[MessageId],
        each: &mut dyn FnMut(MessageId, Option<Arc<Publication>>),
    ) -> Result<(), StoreError> {
        // One short transaction; the log cannot begin anew while it lasts, so nobody is called in it.
        let connection = self.connection()?;
        let mut read = Vec::with_capacity(ids.len());
        let mut outcome = connection.execute_batch("BEGIN").map_err(store_error);
        for &id in ids {
            if outcome.is_err() {
                break;
            }
            outcome = read_one(connection, id).map(|found| read.push((id, found.map(Arc::new))));
        }
        let ended = connection.execute_batch("COMMIT").map_err(store_error);
        let outcome = outcome.and(ended).map_err(|error| about(&self.file, error));
        for (id, found) in read {
            each(id, found);
        }
        outcome
    }

    fn read_retained(
        &mut self,
        namespace: NamespaceNo,
        topic: &TopicName,
    ) -> Result<Option<RetainedRecord>, StoreError> {
        let found: Option<(i64, Vec<u8>)> = self
            .connection()?
            .prepare_cached("SELECT num, v FROM retained WHERE ns = ?1 AND topic = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![namespace.0, topic.as_str()], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .map_err(store_error)?;
        let Some((number, sealed)) = found else { return Ok(None) };
        match retained(&sealed, namespace, topic.as_str(), number.cast_unsigned()) {
            Some(record) => Ok(Some(record)),
            None => {
                let what = format!("the retained message of {:?} is wrong", topic.as_str());
                Err(about(&self.file, StoreError::Corrupt(what.into())))
            }
        }
    }
}

/// One message; none if it is gone.
pub(super) fn read_one(
    connection: &Connection,
    id: MessageId,
) -> Result<Option<Publication>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT hdr, body FROM msg WHERE mid = ?1")
        .map_err(store_error)?;
    let mut rows = statement.query([id.0.cast_signed()]).map_err(store_error)?;
    let Some(row) = rows.next().map_err(store_error)? else { return Ok(None) };
    let column = |index| row.get_ref(index).ok()?.as_blob().ok();
    let read = || publication(header(id, column(0)?)?, column(1)?);
    match read() {
        Some(publication) => Ok(Some(publication)),
        None => Err(StoreError::Corrupt(format!("message {id}: its checksum is wrong").into())),
    }
}
