//! `dunlin store export | import` as commands: files that are there as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dunlin_store::{DiskOptions, DiskStore, OpenError, Store, StoreError, UnixMillis};

use super::export::{ExportError, export};
use super::import::{ImportError, import};
use super::line::Counts;
use super::open::{open_disk, refused, unfinished};
use crate::failure::Failure;

/// Writes what the store in `folder` holds to a new file, or to standard output.
pub(super) fn export_to(folder: &Path, file: Option<&Path>) -> Result<(), Failure> {
    if is_empty(folder) {
        return Err(refused(&OpenError::Missing { path: folder.to_owned() }));
    }
    // A disk that is full is one more reason for an export, so it needs no room.
    let mut options = DiskOptions::default();
    options.ballast_bytes = 0;
    let mut store = open_disk(folder, options)?;
    let written_at = UnixMillis::from(SystemTime::now()).0;
    let counts = match file {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            export(&mut store, written_at, &mut out).map_err(export_failure)?
        }
        Some(file) => write_file(file, &mut |out| export(&mut store, written_at, out))?,
    };
    store.close().map_err(|error| not_closed(folder, &error))?;
    if let Some(file) = file {
        say(&format!("exported to {}: {counts}", file.display()));
    }
    Ok(())
}

/// Fills a file beside `path` and gives it its name when it is whole and on stable storage.
fn write_file(
    path: &Path,
    fill: &mut dyn FnMut(&mut dyn Write) -> Result<Counts, ExportError>,
) -> Result<Counts, Failure> {
    let failed = |error: io::Error| {
        Failure::Run(format!("the export {} cannot be written: {error}", path.display()))
    };
    if path.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let mut part = OsString::from(path);
    part.push(".part");
    let part = PathBuf::from(part);
    let file = owner_only(OpenOptions::new().write(true).create_new(true)).open(&part);
    let mut out = BufWriter::new(file.map_err(failed)?);
    let whole = fill(&mut out).map_err(export_failure).and_then(|counts| {
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().and_then(|()| fs::rename(&part, path)).map_err(failed)?;
        Ok(counts)
    });
    if whole.is_err() {
        let _ = fs::remove_file(&part);
    }
    whole
}

/// An export holds what clients sent: it is as private as the data directory.
fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes a store in `folder`, which must be empty, of the export in `file`, `-` for standard input.
pub(super) fn import_from(folder: &Path, file: &Path) -> Result<(), Failure> {
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| {
            Failure::Run(format!("the export {} cannot be read: {error}", file.display()))
        })?;
        Box::new(BufReader::with_capacity(1 << 20, opened))
    };
    if !is_empty(folder) {
        return Err(refused(&OpenError::NotEmpty { path: folder.to_owned() }));
    }
    let is_new = !folder.exists();
    let mut options = DiskOptions::default();
    options.ballast_bytes = 0;
    let store = open_disk(folder, options)?;
    let counts = fill(store, folder, &mut *input).inspect_err(|_| clear(folder, is_new))?;
    say(&format!("imported into {}: {counts}", folder.display()));
    Ok(())
}

fn fill(mut store: DiskStore, folder: &Path, input: &mut dyn BufRead) -> Result<Counts, Failure> {
    let mark = unfinished(folder);
    let unusable = |error: io::Error| Failure::DataDir(refused_file(&mark, error));
    File::create(&mark).and_then(|mark| mark.sync_all()).map_err(unusable)?;
    let counts = import(&mut store, input).map_err(|error| import_failure(&error))?;
    store.close().map_err(|error| not_closed(folder, &error))?;
    drop(store);
    fs::remove_file(&mark).map_err(unusable)?;
    // Where a folder can be synced; elsewhere the mark may come back, and the import is done again.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(counts)
}

fn refused_file(path: &Path, error: io::Error) -> String {
    OpenError::Folder { path: path.to_owned(), error }.to_string()
}

/// Takes away what an import has left. Everything in the folder is its own.
fn clear(folder: &Path, is_new: bool) {
    if is_new {
        let _ = fs::remove_dir_all(folder);
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let _ = fs::remove_file(entry.path());
    }
}

/// Whether there is nothing in the folder, or no folder.
fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn export_failure(error: ExportError) -> Failure {
    let message = format!("the store was not exported: {error}");
    match error {
        ExportError::Gone(_) | ExportError::Store(StoreError::Corrupt(_)) => {
            Failure::Damaged(message)
        }
        ExportError::Store(_) | ExportError::Write(_) => Failure::Run(message),
    }
}

fn import_failure(error: &ImportError) -> Failure {
    Failure::Run(format!("nothing was imported: {error}"))
}

fn not_closed(folder: &Path, error: &StoreError) -> Failure {
    Failure::Run(format!("the store in {} was not closed in order: {error}", folder.display()))
}

/// A reader that has gone away is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
