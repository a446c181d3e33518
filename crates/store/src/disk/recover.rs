//! The start: the tables, shown to a visitor, and what is kept of them in memory.

use super::DiskStore;
use super::error::{counted, store_error};
use super::survey::{SMALL_BODY, survey};
use crate::backend::{Report, Visitor};
use crate::error::StoreError;

impl DiskStore {
    /// Reads everything, and refuses what is damaged.
    pub(super) fn load(&mut self, visitor: &mut dyn Visitor) -> Result<Report, StoreError> {
        // Asked for a second time, it shows what it has, cursors included.
        if self.index.has_dirty() {
            self.write_cursors_out()?;
        }
        let seen = survey(&self.writer.connection, &self.state, SMALL_BODY, visitor)?;
        if let Some((what, more)) = seen.findings.first() {
            return Err(StoreError::Corrupt(counted(&what, more).into()));
        }
        self.writer.merge_at_end().map_err(store_error)?;
        self.index = seen.index;
        // No submission is older than the start, so nothing can bring back what was removed before.
        self.tombstones = crate::tombstones::Tombstones::default();
        self.mark_open()?;
        self.mind_log()?;
        self.refresh_status();
        Ok(seen.report)
    }
}
