//! Exports and imports, with the store in memory.

mod files;
mod history;

use dunlin_store::{MemoryStore, Store};

use super::export::export;
use super::import::{ImportError, import};
use super::line::Counts;

const WRITTEN_AT: u64 = 1_700_000_000_000;

fn exported(store: &MemoryStore) -> String {
    let mut out = Vec::new();
    export(&mut store.image(), WRITTEN_AT, &mut out).expect("a Vec takes everything");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn imported(text: &str) -> Result<(MemoryStore, Counts), ImportError> {
    let mut store = MemoryStore::new();
    let counts = import(&mut store, &mut text.as_bytes())?;
    store.close()?;
    Ok((store, counts))
}
