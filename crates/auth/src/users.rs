//! A file of users: all its lines, found by name, and written back whole.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mac::SHA256_BYTES;
use crate::random;
use crate::user::{InvalidUser, User};

/// Bytes of a file of users. A larger one is refused.
pub const FILE_BYTES_MAX: u64 = 512 * 1_024 * 1_024;
/// Users in a file. One with more is refused.
pub const USERS_MAX: usize = 1_000_000;

/// Lines that are looked at for a user that stands in for one that does not exist. Where there is none among them, nobody does.
const STAND_IN_LINES_MAX: usize = 1_000;

/// What a new file begins with.
const HEAD: &str =
    "# Users of dunlin, written by `dunlin user`: NAME:HASH, then fields such as :role=NAME.\n";
/// Begins the line with the key of made-up salts.
const DECOY: &str = "!decoy-key ";

/// The users of a file, in the order of its lines.
///
/// Each line is a user, empty, or a comment that begins with `#`. Mosquitto's password files are such files too. See
/// `docs/AUTHENTICATION.md` for the fields that a line may have.
#[derive(Clone, Debug, Default)]
pub struct Users {
    lines: Vec<Line>,
    /// The place of each user among the lines.
    by_name: HashMap<String, usize>,
    /// From which salts are made for users that do not exist, so that they are the same after each start.
    decoy_key: Option<[u8; SHA256_BYTES]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    /// A comment, or nothing.
    Other(String),
    User(Box<User>),
}

/// Why a file gives no users.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`] or has more than [`USERS_MAX`] users.
    #[error("{}: more than {FILE_BYTES_MAX} bytes or {USERS_MAX} users", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is no user.
    #[error("{}:{line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidUser,
    },
    /// A line is no UTF-8, or a key of decoys that is none.
    #[error("{}:{line}: {what}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Two lines are about one user.
    #[error("{}:{line}: there is a user of this name already", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The later line, counted from 1.
        line: usize,
    },
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`UsersError`] when it cannot be read, is too large, or has a line that is not understood.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let failed = |source| UsersError::File { what: "read", path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(UsersError::TooLarge { path: path.to_owned() });
        }
        Self::parse(path, &bytes)
    }

    /// Reads the lines of a file that `path` names in errors.
    ///
    /// # Errors
    ///
    /// As [`Users::read`], less what the system may say.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, UsersError> {
        let mut users = Self::default();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(users);
        }
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            users.read_line(path, index + 1, line.strip_suffix(b"\r").unwrap_or(line))?;
        }
        Ok(users)
    }

    fn read_line(&mut self, path: &Path, line: usize, bytes: &[u8]) -> Result<(), UsersError> {
        let path = || path.to_owned();
        let wrong = |what| UsersError::Text { path: path(), line, what };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is no UTF-8"))?;
        if text.is_empty() || text.starts_with('#') {
            self.lines.push(Line::Other(text.to_owned()));
        } else if let Some(key) = text.strip_prefix(DECOY) {
            let key = STANDARD.decode(key).ok().and_then(|key| key.try_into().ok());
            self.decoy_key = Some(key.ok_or_else(|| wrong("is no key of decoys"))?);
        } else {
            let user = User::parse(text).map_err(|source| UsersError::Line {
                path: path(),
                line,
                source,
            })?;
            if self.by_name.contains_key(user.name()) {
                return Err(UsersError::Twice { path: path(), line });
            }
            if self.by_name.len() >= USERS_MAX {
                return Err(UsersError::TooLarge { path: path() });
            }
            self.put(user);
        }
        Ok(())
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        match self.lines.get(*self.by_name.get(name)?)? {
            Line::User(user) => Some(user),
            Line::Other(_) => None,
        }
    }

    /// All users in their order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.lines.iter().filter_map(|line| match line {
            Line::User(user) => Some(&**user),
            Line::Other(_) => None,
        })
    }

    /// The first user for whom `is_fit` holds, from a place on that the number chooses; none if there is no such user. It looks
    /// at a bounded number of lines, so that nobody's time depends on where that is.
    pub(crate) fn stand_in(
        &self,
        chosen: [u8; SHA256_BYTES],
        is_fit: impl Fn(&User) -> bool,
    ) -> Option<&User> {
        let chosen =
            chosen.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(257) ^ usize::from(*byte));
        let start = chosen.checked_rem(self.lines.len())?;
        let (before, after) = self.lines.split_at_checked(start)?;
        let lines = after.iter().chain(before).take(STAND_IN_LINES_MAX);
        lines
            .filter_map(|line| match line {
                Line::User(user) => Some(&**user),
                Line::Other(_) => None,
            })
            .find(|user| is_fit(user))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds the user, or puts it in the place of the one of its name.
    pub fn put(&mut self, user: User) {
        let line = self.by_name.get(user.name()).and_then(|index| self.lines.get_mut(*index));
        match line {
            Some(line) => *line = Line::User(Box::new(user)),
            None => {
                self.by_name.insert(user.name().to_owned(), self.lines.len());
                self.lines.push(Line::User(Box::new(user)));
            }
        }
    }

    /// Takes the user of this name out.
    pub fn remove(&mut self, name: &str) -> Option<User> {
        let index = self.by_name.remove(name)?;
        let line = self.lines.remove(index);
        for other in self.by_name.values_mut().filter(|other| **other > index) {
            *other -= 1;
        }
        match line {
            Line::User(user) => Some(*user),
            Line::Other(_) => None,
        }
    }

    pub(crate) const fn decoy_key(&self) -> Option<&[u8; SHA256_BYTES]> {
        self.decoy_key.as_ref()
    }

    /// Gives the file a key for made-up salts, if it has none: whoever asks for a user that does not exist then gets the same
    /// answer after each start. Nothing changes where the system gives no randomness.
    pub fn keep_decoys(&mut self) {
        if self.decoy_key.is_none() {
            self.decoy_key = random::bytes().ok();
        }
    }

    /// The whole file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(key) = &self.decoy_key {
            let _ = writeln!(text, "{DECOY}{}", STANDARD.encode(key));
        }
        for line in &self.lines {
            let _ = match line {
                Line::Other(other) => writeln!(text, "{other}"),
                Line::User(user) => writeln!(text, "{user}"),
            };
        }
        text
    }

    /// Puts these users in the place of the file: whoever reads it meanwhile sees the old ones or the new ones, and never a part.
    /// A new file is for its owner alone; one that is replaced keeps its mode and, where the system allows it, its owner.
    ///
    /// # Errors
    ///
    /// [`UsersError::File`]; the file is as it was then.
    pub fn write(&self, path: &Path) -> Result<(), UsersError> {
        let failed = |source| UsersError::File { what: "write", path: path.to_owned(), source };
        let former = fs::metadata(path).ok();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(name);
        let written = self.write_new(&new, former.as_ref()).and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(failed(error));
        }
        // The name is safe once its folder is. A file system without such a thing does it by itself.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(folder) = File::open(folder.unwrap_or_else(|| Path::new("."))) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn write_new(&self, path: &Path, former: Option<&Metadata>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        if former.is_none() && self.lines.first().is_none_or(|line| matches!(line, Line::User(_))) {
            file.write_all(HEAD.as_bytes())?;
        }
        file.write_all(self.text().as_bytes())?;
        if let Some(former) = former {
            keep_owner(path, former);
            file.set_permissions(former.permissions())?;
        }
        file.sync_all()
    }
}

/// Where the system does not allow it, the file is the writer's from now on.
#[cfg(unix)]
fn keep_owner(path: &Path, former: &Metadata) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let _ = chown(path, Some(former.uid()), Some(former.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &Metadata) {}

/// What tells a file that was changed from one that was not, without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Each file that is put in the place of another has its own.
    inode: u64,
}

impl Stamp {
    /// None where there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len(), inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Users, String> {
        Users::parse(Path::new("users"), text.as_bytes()).map_err(|error| error.to_string())
    }

    fn names(users: &Users) -> Vec<&str> {
        users.iter().map(User::name).collect()
    }

    #[test]
    fn a_file_is_written_as_it_was_read() {
        let text = "# our users\n\nalice:*:role=a\n# the other one\nbob:*\n";
        let mut users = parse(text).expect("legal");
        assert_eq!(names(&users), ["alice", "bob"]);
        assert_eq!(users.text(), text);
        assert_eq!(users.user("carol"), None);
        assert_eq!(users.user("# our users"), None);

        let mut bob = users.user("bob").expect("bob").clone();
        bob.tenant = Some("t".to_owned());
        users.put(bob.clone());
        users.put(User::new("carol").expect("legal"));
        assert_eq!(
            users.remove("alice").map(|user| user.name().to_owned()),
            Some("alice".to_owned())
        );
        assert_eq!(users.remove("alice"), None);
        assert_eq!(users.text(), "# our users\n\n# the other one\nbob:*:tenant=t\ncarol:*\n");
        assert_eq!(users.user("bob"), Some(&bob));
        assert_eq!((users.len(), users.is_empty()), (2, false));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (text, expected) in [
            ("alice:*\nbob", "users:2: must be NAME:HASH"),
            ("alice:*\n\nalice:*", "users:3: there is a user of this name already"),
            ("!decoy-key x", "users:1: is no key of decoys"),
            ("!other", "users:1: must be NAME:HASH"),
        ] {
            assert_eq!(parse(text).expect_err(text), expected);
        }
        let wrong = Users::parse(Path::new("users"), b"\n\xff").expect_err("no UTF-8");
        assert_eq!(wrong.to_string(), "users:2: is no UTF-8");
        assert_eq!(parse("").map(|users| users.len()), Ok(0));
        // As it comes from another system.
        assert_eq!(names(&parse("alice:*\r\nbob:*\r\n").expect("legal")), ["alice", "bob"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        let mut users = Users::default();
        users.put(User::new("alice").expect("legal"));
        users.keep_decoys();
        users.write(&path).expect("written");
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text, format!("{HEAD}{}", users.text()));
        let before = Stamp::of(&path);
        let mut read = Users::read(&path).expect("legal");
        assert_eq!(read.decoy_key(), users.decoy_key());
        read.remove("alice");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode =
                |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("allowed");
            read.write(&path).expect("written");
            assert_eq!(mode(&path), 0o640);
        }
        #[cfg(not(unix))]
        read.write(&path).expect("written");
        assert_ne!(Stamp::of(&path), before);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("read").collect();
        assert_eq!(left.len(), 1);
        assert!(Users::read(&path).expect("legal").is_empty());
    }
}
