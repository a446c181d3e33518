//! What must not be seen: the secret itself, and the place where it is kept.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The variable in which systemd names the folder of a service's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Bytes of a secret that is read from a file. More is no secret but a mistake, and is refused.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that are shown to nobody and are overwritten in memory when they are no longer used.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Keeps these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for whoever has to use them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The same as text; none if it is no UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a secret is kept, as a configuration writes it.
///
/// | Written as | Means |
/// |---|---|
/// | `${NAME}` | the environment variable NAME |
/// | `file:///path` or `file://path` | what the file holds, without the line end at its end |
/// | `credential://NAME` | the systemd credential NAME, a file in `$CREDENTIALS_DIRECTORY` |
/// | anything else | the secret itself |
///
/// Only the last one is a secret, and `Display` and `Debug` leave it out.
///
/// ```
/// use dunlin_auth::SecretSource;
///
/// assert_eq!(SecretSource::parse("${DB_PASSWORD}").to_string(), "${DB_PASSWORD}");
/// assert_eq!(SecretSource::parse("hunter2").to_string(), "(redacted)");
/// ```
#[derive(Clone, Eq, PartialEq)]
pub enum SecretSource {
    /// The secret itself.
    Literal(Secret),
    /// The environment variable of this name.
    Variable(String),
    /// The content of this file.
    File(PathBuf),
    /// The systemd credential of this name.
    Credential(String),
}

/// Why a secret is not to be had.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or is no UTF-8.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The process was given no credentials by systemd.
    #[error(
        "the credential {0} is asked for, and $CREDENTIALS_DIRECTORY is not set: \
             LoadCredential= or SetCredential= in the unit sets it"
    )]
    NoCredentials(String),
    /// A credential's name is a path.
    #[error("{0:?} is no name of a credential: it must be a file name")]
    CredentialName(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is too long for a secret.
    #[error("{path} has more than {SECRET_BYTES_MAX} bytes, which is too much for a secret")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing there.
    #[error("{0} is empty")]
    Empty(String),
}

impl SecretSource {
    /// Reads how a configuration writes it. Every text means something.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Self::Variable(name.to_owned())
        } else if let Some(path) = text.strip_prefix("file://") {
            Self::File(PathBuf::from(path))
        } else if let Some(name) = text.strip_prefix("credential://") {
            Self::Credential(name.to_owned())
        } else {
            Self::Literal(Secret::new(text))
        }
    }

    /// Fetches the secret.
    ///
    /// # Errors
    ///
    /// [`SecretError`] when it is not there, cannot be read, is empty, or is longer than [`SECRET_BYTES_MAX`].
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Literal(secret) => secret.clone(),
            Self::Variable(name) => match env::var(name) {
                Ok(value) => Secret::new(value),
                Err(_) => return Err(SecretError::NoVariable(name.clone())),
            },
            Self::File(path) => read(path)?,
            Self::Credential(name) => {
                let folder = env::var_os(CREDENTIALS_DIRECTORY)
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                // A name with a separator would leave the folder.
                if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                    return Err(SecretError::CredentialName(name.clone()));
                }
                read(&Path::new(&folder).join(name))?
            }
        };
        if secret.expose().is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(secret)
    }
}

/// What the file holds, without one line end at its end, which editors add and nobody means.
fn read(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Secret(bytes))
}

impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::Literal(secret)
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("(redacted)"),
            Self::Variable(name) => write!(f, "${{{name}}}"),
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Credential(name) => write!(f, "credential://{name}"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_source_is_written_as_it_is_read_and_a_literal_is_not_shown() {
        for text in ["${NAME}", "file:///run/key", "file://key", "credential://db"] {
            let source = SecretSource::parse(text);
            assert_eq!(source.to_string(), text);
            assert_eq!(format!("{source:?}"), format!("SecretSource({text})"));
        }
        for text in ["hunter2", "${", "file:/key", ""] {
            let source = SecretSource::parse(text);
            assert_eq!(source, SecretSource::Literal(Secret::new(text)));
            assert_eq!(format!("{source} {source:?}"), "(redacted) SecretSource((redacted))");
        }
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
    }

    #[test]
    fn a_file_gives_its_content_without_the_last_line_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let cases: [(&[u8], &[u8]); 4] = [
            (b"s3cret", b"s3cret"),
            (b"s3cret\n", b"s3cret"),
            (b"a\r\n", b"a"),
            (b"a\n\n", b"a\n"),
        ];
        for (content, expected) in cases {
            fs::write(&path, content).expect("written");
            let secret = SecretSource::File(path.clone()).resolve().expect("read");
            assert_eq!(secret.expose(), expected);
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let error = |source: SecretSource| source.resolve().expect_err("refused").to_string();
        let shown = path.display();
        assert_eq!(
            error(SecretSource::File(path.clone())),
            format!("cannot read {shown}: No such file or directory (os error 2)")
        );
        fs::write(&path, "\n").expect("written");
        assert_eq!(error(SecretSource::File(path.clone())), format!("file://{shown} is empty"));
        fs::write(&path, vec![b'x'; 65_537]).expect("written");
        assert_eq!(
            error(SecretSource::File(path.clone())),
            format!("{shown} has more than 65536 bytes, which is too much for a secret")
        );
        assert_eq!(
            error(SecretSource::parse("${DUNLIN_AUTH_NOT_SET}")),
            "the environment variable DUNLIN_AUTH_NOT_SET is not set"
        );
        assert_eq!(error(SecretSource::parse("")), "(redacted) is empty");
    }
}
