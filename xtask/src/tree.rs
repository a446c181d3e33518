//! The repository's own files, read once and given to every check.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folders that hold what was built, fetched or found by a fuzzer: never written by us.
const NOT_OURS: [&str; 8] =
    [".git", "target", "node_modules", "data", "corpus", "artifacts", "coverage", "__pycache__"];

/// Endings of the files that are text written by us.
const OURS: [&str; 12] =
    ["rs", "toml", "md", "py", "mjs", "js", "json", "sh", "csv", "yml", "yaml", "snap"];

/// Files without an ending that are text written by us.
const OURS_BY_NAME: [&str; 3] = ["examples", "justfile", "run"];

/// Every text file of the repository, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

/// One file; the path is relative to the repository's root and uses forward slashes.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, Path::new(""))?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() && !is_any(&path, &NOT_OURS) {
                self.read_folder(root, &path)?;
            } else if kind.is_file() && is_ours(&path) {
                let text = fs::read_to_string(root.join(&path)).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                self.files.push(SourceFile { path, text });
            }
        }
        Ok(())
    }

    pub(crate) fn file(&self, path: impl AsRef<Path>) -> Option<&SourceFile> {
        let path = path.as_ref();
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a SourceFile> {
        self.files.iter().filter(move |file| file.has_extension(extension))
    }
}

impl SourceFile {
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }

    pub(crate) fn has_folder(&self, name: &str) -> bool {
        self.path.parent().is_some_and(|folder| folder.iter().any(|part| part == name))
    }

    /// The lines with their numbers, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line at which tests begin: 1 in a test file, else that of `#[cfg(test)]` on a module with a body.
    ///
    /// Tests come last in a file of ours, so that everything after the attribute is test.
    pub(crate) fn tests_begin(&self) -> Option<usize> {
        let by_name = self.path.file_stem().is_some_and(|stem| stem == "tests");
        if by_name || self.has_folder("tests") {
            return Some(1);
        }
        let mut lines = self.lines().peekable();
        while let Some((number, line)) = lines.next() {
            let is_declaration = |next: &&(usize, &str)| next.1.trim_end().ends_with(';');
            if line.trim() == "#[cfg(test)]" && !lines.peek().as_ref().is_some_and(is_declaration) {
                return Some(number);
            }
        }
        None
    }
}

fn is_any(path: &Path, names: &[&str]) -> bool {
    path.file_name().is_some_and(|own| names.iter().any(|name| own == *name))
}

fn is_ours(path: &Path) -> bool {
    let by_extension = path.extension().is_some_and(|own| OURS.iter().any(|known| own == *known));
    let generated = is_any(path, &["package-lock.json"]);
    (by_extension && !generated) || is_any(path, &OURS_BY_NAME)
}

/// The folder above this package's.
pub(crate) fn repository_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_tests_begin(path: &str, text: &str, expected: Option<usize>) {
        let file = SourceFile { path: path.into(), text: text.into() };
        assert_eq!(file.tests_begin(), expected, "{path}: {text}");
    }

    #[test]
    fn tests_begin_at_the_attribute_or_at_the_top_of_a_test_file() {
        check_tests_begin("crates/a/src/b.rs", "fn f() {}\n", None);
        check_tests_begin(
            "crates/a/src/b.rs",
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n",
            Some(3),
        );
        check_tests_begin("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\nfn f() {}\n", None);
        check_tests_begin("crates/a/src/b/tests.rs", "fn f() {}\n", Some(1));
        check_tests_begin("crates/a/tests/flow.rs", "fn f() {}\n", Some(1));
        check_tests_begin("tests/interop/suite.py", "pass\n", Some(1));
    }
}
