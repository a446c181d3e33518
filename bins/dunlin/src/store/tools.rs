//! `dunlin store check | repair | stats | backup`: what the store's own tools say, as text and exit code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;

use dunlin_store::disk;

use super::open::refused;
use crate::failure::Failure;

pub(super) fn check(folder: &Path) -> Result<(), Failure> {
    let checked = disk::check(folder).map_err(|error| refused(&error))?;
    print(&checked);
    if checked.is_sound() {
        return Ok(());
    }
    Err(Failure::Damaged(format!("the store in {} is damaged", folder.display())))
}

pub(super) fn repair(folder: &Path) -> Result<(), Failure> {
    match disk::repair(folder).map_err(|error| refused(&error))? {
        Some(salvaged) => print(&salvaged),
        None => print(&"the store is sound: there is nothing to repair"),
    }
    Ok(())
}

pub(super) fn stats(folder: &Path) -> Result<(), Failure> {
    disk::stats(folder).map(|stats| print(&stats)).map_err(|error| refused(&error))
}

pub(super) fn backup(folder: &Path, to: &Path) -> Result<(), Failure> {
    disk::backup(folder, to).map(|done| print(&done)).map_err(|error| refused(&error))
}

/// A reader that has gone away is no failure.
fn print(report: &impl Display) {
    let text = report.to_string();
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
}
