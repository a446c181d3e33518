//! A batch on its way into the tables.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_codec::{Text, TopicName};
use rusqlite::{OptionalExtension as _, params};

use super::DiskStore;
use super::error::store_error;
use super::layout::{
    key_text, kind, put_cursor, put_publication, put_retained, put_session, put_subscription,
    session,
};
use super::schema::{State, Table, number_key, text_key};
use crate::backend::RetainedRecord;
use crate::batch::{Batch, Durability};
use crate::change::Change;
use crate::error::StoreError;
use crate::id::{MessageId, NamespaceNo, SessionNo, UnixMillis};
use crate::record::{Publication, SessionKey, SessionRecord, SubscriptionRecord, Target};

/// Buffers that records are put together in.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) value: Vec<u8>,
    body: Vec<u8>,
}

/// What one batch has to write at its end.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Sessions whose cursor must be in the same commit.
    cursors: Vec<SessionNo>,
    /// Topics whose retained message was removed, with the number of the removal.
    removed: Vec<(NamespaceNo, TopicName, u64)>,
}

impl DiskStore {
    /// Whether a batch changes nothing but what may come with a later commit.
    fn is_lazy(batch: &Batch) -> bool {
        batch.durability() == Durability::Memory
            && batch.changes().iter().all(|change| matches!(change, Change::Acknowledged { .. }))
    }

    /// Writes a batch; what it did in memory is taken back if that fails.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.index.begin();
        if Self::is_lazy(batch) {
            for change in batch.changes() {
                if let Change::Acknowledged { session, first, last } = change {
                    self.index.acknowledge(*session, *first, *last);
                }
            }
            self.index.keep();
            return Ok(());
        }
        let before = self.state;
        let written = self.write_transaction(batch);
        match written {
            Ok(applied) => {
                self.index.keep();
                for (namespace, topic, number) in applied.removed {
                    self.tombstones.insert((namespace, topic), number);
                }
                Ok(())
            }
            Err(error) => {
                if !self.writer.connection.is_autocommit() {
                    // An error of the disk has rolled it back already.
                    let _ = self.writer.connection.execute_batch("ROLLBACK");
                }
                self.index.take_back();
                self.state = before;
                Err(error)
            }
        }
    }

    fn write_transaction(&mut self, batch: &Batch) -> Result<Applied, StoreError> {
        let synced = batch.durability() == Durability::Fsync;
        self.writer.sync_commits(synced).map_err(store_error)?;
        self.execute("BEGIN IMMEDIATE")?;
        self.state.clean = false;
        let mut applied = Applied::default();
        let newest = newest_retained(batch);
        for (place, change) in batch.changes().iter().enumerate() {
            self.apply(place, change, &newest, &mut applied)?;
        }
        self.state.last = self.state.last.max(MessageId(batch.next_id().0 - 1));
        for session in std::mem::take(&mut applied.cursors) {
            self.write_cursor(session)?;
        }
        self.flush_cursors(self.options.cursors_per_commit)?;
        self.store_state()?;
        self.execute("COMMIT")?;
        self.committed(synced);
        Ok(applied)
    }

    pub(super) fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        self.writer
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map_err(store_error)?;
        Ok(())
    }

    pub(super) fn store_state(&mut self) -> Result<(), StoreError> {
        self.state.store(&self.writer.connection, &mut self.buffers.value).map_err(store_error)
    }

    fn apply(
        &mut self,
        place: usize,
        change: &Change,
        newest: &HashMap<(NamespaceNo, &TopicName), usize>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        match change {
            Change::NamespaceOpened { namespace, name } => self.open_namespace(*namespace, name)?,
            Change::SessionOpened { session, namespace, key, record } => {
                self.open_session(*session, *namespace, key, record)?;
            }
            Change::SessionUpdated { session, record } => self.update_session(*session, record)?,
            Change::SessionEnded { session } => self.end_session(*session)?,
            Change::WillTaken { session } => self.take_will(*session)?,
            Change::Subscribed { session, filter, record } => {
                self.subscribe(*session, filter, record)?;
            }
            Change::Unsubscribed { session, filter } => self.unsubscribe(*session, filter)?,
            Change::Published { id, publication } => self.publish(*id, publication)?,
            Change::HandedOver { id, from, from_seq, to } => {
                self.hand_over(*id, *from, *from_seq, to, applied)?;
            }
            Change::Acknowledged { session, first, last } => {
                self.index.acknowledge(*session, *first, *last);
            }
            Change::OutboundReleased { session, seq } => {
                self.index.release(*session, *seq);
                applied.cursors.push(*session);
            }
            Change::InboundStored { session, packet_id } => {
                self.store_inbound(*session, packet_id.get())?;
            }
            Change::InboundReleased { session, packet_id } => {
                self.release_inbound(*session, packet_id.get())?;
            }
            Change::Retained { namespace, number, message, stored_at, expires_at } => {
                self.saw_retained(*number, *stored_at);
                // At most one write for each topic: only the highest number is left in the end.
                if newest.get(&(*namespace, &message.topic)) == Some(&place) {
                    self.retain(&RetainedRecord {
                        namespace: *namespace,
                        message: Arc::clone(message),
                        number: *number,
                        stored_at: *stored_at,
                        expires_at: *expires_at,
                    })?;
                }
            }
            Change::Unretained { namespace, topic, number, removed_at } => {
                self.saw_retained(*number, *removed_at);
                if newest.get(&(*namespace, topic)) == Some(&place)
                    && self.unretain(*namespace, topic, *number)?
                {
                    applied.removed.push((*namespace, topic.clone(), *number));
                }
            }
        }
        Ok(())
    }

    /// Runs a statement; how many rows it changed.
    fn change(
        &self,
        sql: &'static str,
        params: impl rusqlite::Params,
    ) -> Result<usize, StoreError> {
        self.writer
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(store_error)
    }

    // ---- Namespaces and sessions ----

    fn open_namespace(&mut self, namespace: NamespaceNo, name: &Text) -> Result<(), StoreError> {
        let number = namespace.0;
        let before: Option<String> = self
            .writer
            .connection
            .query_row("SELECT name FROM namespace WHERE ns = ?1", [number], |row| row.get(0))
            .optional()
            .map_err(store_error)?;
        let tally = self.state.tally(Table::Namespace);
        if let Some(before) = before {
            tally.sub(text_key(number.into(), before.as_bytes()));
        }
        tally.add(text_key(number.into(), name.as_bytes()));
        self.change(
            "INSERT INTO namespace(ns, name) VALUES(?1, ?2) ON CONFLICT(ns) DO UPDATE SET name = excluded.name",
            params![number, name.as_str()],
        )?;
        Ok(())
    }

    fn open_session(
        &mut self,
        number: SessionNo,
        namespace: NamespaceNo,
        key: &SessionKey,
        record: &SessionRecord,
    ) -> Result<(), StoreError> {
        if let Some(older) = self.index.holder(namespace, key) {
            self.end_session(older)?;
        }
        self.index.open(number, namespace, key);
        self.state.next_session = self.state.next_session.max(number.next().unwrap_or(number));
        self.state.saw(record.disconnected_at);
        self.state.tally(Table::Session).add(number_key(number.0.into(), 0));
        put_session(&mut self.buffers.value, number, namespace, key, record);
        self.change(
            "INSERT INTO session(sno, ns, kind, name, v) VALUES(?1, ?2, ?3, ?4, ?5)",
            params![number.0, namespace.0, kind(key), key_text(key), &self.buffers.value[..]],
        )?;
        Ok(())
    }

    fn update_session(
        &mut self,
        number: SessionNo,
        record: &SessionRecord,
    ) -> Result<(), StoreError> {
        self.state.saw(record.disconnected_at);
        let Some(found) = self.index.get(number) else { return Ok(()) };
        put_session(&mut self.buffers.value, number, found.namespace, &found.key, record);
        self.change(
            "UPDATE session SET v = ?2 WHERE sno = ?1",
            params![number.0, &self.buffers.value[..]],
        )?;
        Ok(())
    }

    fn take_will(&mut self, number: SessionNo) -> Result<(), StoreError> {
        let Some(found) = self.index.get(number) else { return Ok(()) };
        let sealed: Option<Vec<u8>> = self
            .writer
            .connection
            .query_row("SELECT v FROM session WHERE sno = ?1", [number.0], |row| row.get(0))
            .optional()
            .map_err(store_error)?;
        let record = sealed
            .and_then(|sealed| session(&sealed, number, found.namespace, &found.key))
            .ok_or_else(|| {
                StoreError::Corrupt(format!("session {number}: its row is wrong").into())
            })?;
        if record.will.is_some() {
            self.update_session(number, &SessionRecord { will: None, ..record })?;
        }
        Ok(())
    }

    /// Takes a session out, with all rows that are its own. Messages stay until they are removed with others.
    fn end_session(&mut self, number: SessionNo) -> Result<(), StoreError> {
        if !self.index.discard(number) {
            return Ok(());
        }
        let session = u64::from(number.0);
        self.change("DELETE FROM session WHERE sno = ?1", [number.0])?;
        self.state.tally(Table::Session).sub(number_key(session, 0));
        if self.change("DELETE FROM cursor WHERE sno = ?1", [number.0])? > 0 {
            self.state.tally(Table::Cursor).sub(number_key(session, 0));
        }
        let filters: Vec<String> = self.column("SELECT filter FROM sub WHERE sno = ?1", number)?;
        if !filters.is_empty() {
            self.change("DELETE FROM sub WHERE sno = ?1", [number.0])?;
        }
        for filter in filters {
            self.state.tally(Table::Sub).sub(text_key(session, filter.as_bytes()));
        }
        let inbound: Vec<u16> = self.column("SELECT pkid FROM inq2 WHERE sno = ?1", number)?;
        if !inbound.is_empty() {
            self.change("DELETE FROM inq2 WHERE sno = ?1", [number.0])?;
        }
        for packet_id in inbound {
            self.state.tally(Table::Inq2).sub(number_key(session, packet_id.into()));
        }
        Ok(())
    }

    fn column<T: rusqlite::types::FromSql>(
        &self,
        sql: &'static str,
        session: SessionNo,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.writer.connection.prepare_cached(sql).map_err(store_error)?;
        let rows = statement.query_map([session.0], |row| row.get(0)).map_err(store_error)?;
        rows.collect::<rusqlite::Result<_>>().map_err(store_error)
    }

    fn subscribe(
        &mut self,
        session: SessionNo,
        filter: &Text,
        record: &SubscriptionRecord,
    ) -> Result<(), StoreError> {
        if self.index.get(session).is_none() {
            return Ok(());
        }
        put_subscription(&mut self.buffers.value, session, filter.as_str(), record);
        let row = params![session.0, filter.as_str(), &self.buffers.value[..]];
        if self.change("UPDATE sub SET v = ?3 WHERE sno = ?1 AND filter = ?2", row)? == 0 {
            self.change("INSERT INTO sub(sno, filter, v) VALUES(?1, ?2, ?3)", row)?;
            self.state.tally(Table::Sub).add(text_key(session.0.into(), filter.as_bytes()));
        }
        Ok(())
    }

    fn unsubscribe(&mut self, session: SessionNo, filter: &Text) -> Result<(), StoreError> {
        let row = params![session.0, filter.as_str()];
        if self.change("DELETE FROM sub WHERE sno = ?1 AND filter = ?2", row)? > 0 {
            self.state.tally(Table::Sub).sub(text_key(session.0.into(), filter.as_bytes()));
        }
        Ok(())
    }

    fn store_inbound(&mut self, session: SessionNo, packet_id: u16) -> Result<(), StoreError> {
        if self.index.get(session).is_some()
            && self.change(
                "INSERT INTO inq2(sno, pkid) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
                params![session.0, packet_id],
            )? > 0
        {
            self.state.tally(Table::Inq2).add(number_key(session.0.into(), packet_id.into()));
        }
        Ok(())
    }

    fn release_inbound(&mut self, session: SessionNo, packet_id: u16) -> Result<(), StoreError> {
        let row = params![session.0, packet_id];
        if self.change("DELETE FROM inq2 WHERE sno = ?1 AND pkid = ?2", row)? > 0 {
            self.state.tally(Table::Inq2).sub(number_key(session.0.into(), packet_id.into()));
        }
        Ok(())
    }

    // ---- Messages ----

    fn publish(&mut self, id: MessageId, publication: &Publication) -> Result<(), StoreError> {
        self.state.saw(Some(publication.published_at));
        let mut waiting = 0;
        for target in &publication.targets {
            waiting += u32::from(self.index.put(id, target.session, target.seq));
        }
        if waiting > 0 {
            self.insert_message(id, publication, waiting)?;
        }
        Ok(())
    }

    fn insert_message(
        &mut self,
        id: MessageId,
        publication: &Publication,
        waiting: u32,
    ) -> Result<(), StoreError> {
        let Buffers { value, body } = &mut self.buffers;
        put_publication(id, publication, value, body);
        self.change(
            "INSERT INTO msg(mid, hdr, body) VALUES(?1, ?2, ?3)",
            params![id.0.cast_signed(), &self.buffers.value[..], &self.buffers.body[..]],
        )?;
        self.grew(self.buffers.value.len() + self.buffers.body.len());
        self.index.inserted(id, waiting);
        self.state.tally(Table::Msg).add(number_key(id.0, 0));
        Ok(())
    }

    fn hand_over(
        &mut self,
        id: MessageId,
        from: SessionNo,
        from_seq: u64,
        to: &Target,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let Some(old) = self.index.get(from).and_then(|found| found.at(from_seq)) else {
            return Ok(());
        };
        if !self.index.takes(to.session, to.seq) {
            return Ok(());
        }
        let publication = self.read_message(old)?;
        let moved = Publication { targets: vec![to.clone()], ..publication };
        self.index.put(id, to.session, to.seq);
        self.insert_message(id, &moved, 1)?;
        self.index.acknowledge(from, from_seq, from_seq);
        // Or a restart would find it in both queues.
        applied.cursors.push(from);
        Ok(())
    }

    fn read_message(&self, id: MessageId) -> Result<Publication, StoreError> {
        super::read::read_one(&self.writer.connection, id)?
            .ok_or_else(|| StoreError::Corrupt(format!("message {id} is missing").into()))
    }

    // ---- Cursors ----

    pub(super) fn write_cursor(&mut self, number: SessionNo) -> Result<(), StoreError> {
        let Some(found) = self.index.get(number) else { return Ok(()) };
        put_cursor(&mut self.buffers.value, number, &found.cursor);
        let row = params![number.0, &self.buffers.value[..]];
        if self.change("UPDATE cursor SET v = ?2 WHERE sno = ?1", row)? == 0 {
            self.change("INSERT INTO cursor(sno, v) VALUES(?1, ?2)", row)?;
            self.state.tally(Table::Cursor).add(number_key(number.0.into(), 0));
        }
        Ok(())
    }

    /// Writes the cursors that have waited longest.
    pub(super) fn flush_cursors(&mut self, max: usize) -> Result<(), StoreError> {
        for _ in 0..max {
            let Some(number) = self.index.next_dirty() else { break };
            self.write_cursor(number)?;
        }
        self.noted();
        Ok(())
    }

    // ---- Retained messages ----

    fn saw_retained(&mut self, number: u64, time: UnixMillis) {
        self.state.saw(Some(time));
        self.state.next_retained = self.state.next_retained.max(number.saturating_add(1));
    }

    fn retain(&mut self, record: &RetainedRecord) -> Result<(), StoreError> {
        let topic = &record.message.topic;
        let removed = self.tombstones.number(record.namespace, topic);
        if removed.is_some_and(|removed| record.number <= removed) {
            return Ok(());
        }
        put_retained(&mut self.buffers.value, record);
        let number = record.number.cast_signed();
        let row = params![record.namespace.0, topic.as_str(), number, &self.buffers.value[..]];
        let replaced = self.change(
            "UPDATE retained SET num = ?3, v = ?4 WHERE ns = ?1 AND topic = ?2 AND num < ?3",
            row,
        )?;
        if replaced == 0
            && self.change(
                "INSERT INTO retained(ns, topic, num, v) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                row,
            )? > 0
        {
            let key = text_key(record.namespace.0.into(), topic.as_bytes());
            self.state.tally(Table::Retained).add(key);
        }
        Ok(())
    }

    /// Removes the retained message of a topic; `false` if there is a newer one, or was.
    fn unretain(
        &mut self,
        namespace: NamespaceNo,
        topic: &TopicName,
        number: u64,
    ) -> Result<bool, StoreError> {
        let removed = self.tombstones.number(namespace, topic);
        if removed.is_some_and(|removed| number <= removed) {
            return Ok(false);
        }
        let row = params![namespace.0, topic.as_str(), number.cast_signed()];
        if self.change("DELETE FROM retained WHERE ns = ?1 AND topic = ?2 AND num < ?3", row)? > 0 {
            let key = text_key(namespace.0.into(), topic.as_bytes());
            self.state.tally(Table::Retained).sub(key);
            return Ok(true);
        }
        let newer: bool = self
            .writer
            .connection
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM retained WHERE ns = ?1 AND topic = ?2)")
            .and_then(|mut statement| {
                statement.query_row(params![namespace.0, topic.as_str()], |row| row.get(0))
            })
            .map_err(store_error)?;
        Ok(!newer)
    }
}

/// Which change of a batch is the last word about each topic: the one with the highest number, the first of equals.
fn newest_retained(batch: &Batch) -> HashMap<(NamespaceNo, &TopicName), usize> {
    let mut newest: HashMap<(NamespaceNo, &TopicName), (u64, usize)> = HashMap::new();
    for (place, change) in batch.changes().iter().enumerate() {
        let (namespace, topic, number) =
            if let Change::Retained { namespace, number, message, .. } = change {
                (*namespace, &message.topic, *number)
            } else if let Change::Unretained { namespace, topic, number, .. } = change {
                (*namespace, topic, *number)
            } else {
                continue;
            };
        let entry = newest.entry((namespace, topic)).or_insert((number, place));
        if number > entry.0 {
            *entry = (number, place);
        }
    }
    newest.into_iter().map(|(key, (_, place))| (key, place)).collect()
}

impl State {
    /// Notes that these messages are gone.
    pub(super) fn forget_messages(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            self.tally(Table::Msg).sub(number_key(id, 0));
        }
    }
}
