//! What no compiler sees: leftover marks, titles, file sizes, dead files, and the layers.

use std::io;
use std::path::{Path, PathBuf};

use crate::finding::Finding;
use crate::tree::{SourceFile, Tree};
use crate::{layers, spec};

/// A file that is longer holds more than one idea. We look again at 500; this is where looking stops being optional.
const LINES_MAX: usize = 900;

/// Words that never stay behind. Written in halves, because this file is searched too.
const LEFTOVERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// A test is made right or asserts today's wrong answer; it is not switched off.
const IGNORED_TEST: &str = concat!("#[", "ignore");

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "Users/")];

/// Names under which a crate collects what has no idea of its own.
const NO_NOUNS: [&str; 4] = ["utils.rs", "util.rs", "types.rs", "common.rs"];

pub(crate) fn findings(tree: &Tree) -> io::Result<Vec<Finding>> {
    let mut findings = layers::findings(tree);
    findings.extend(spec::report(tree)?.findings);
    for file in &tree.files {
        findings.extend(text_findings(file));
    }
    for file in tree.with_extension("md") {
        findings.extend(title_finding(file));
    }
    for file in tree.with_extension("rs") {
        findings.extend(size_finding(file));
        findings.extend(name_finding(file));
        findings.extend(dead_file_finding(tree, file));
    }
    findings.sort();
    Ok(findings)
}

fn text_findings(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let marks = LEFTOVERS.iter().chain([&IGNORED_TEST]).filter(|mark| has_word(line, mark));
        findings.extend(
            marks.map(|mark| Finding::at(&file.path, number, format!("leftover mark {mark}"))),
        );
        let paths = MACHINE_PATHS.iter().filter(|path| has_path(line, path));
        findings
            .extend(paths.map(|path| {
                Finding::at(&file.path, number, format!("path of one machine {path}"))
            }));
    }
    findings
}

/// Whether `word` stands in `line` and is not the middle of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + word.len()..).and_then(|text| text.chars().next());
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let open_ended = word.ends_with('(') || word == IGNORED_TEST;
        !before.is_some_and(joins) && (open_ended || !after.is_some_and(joins))
    })
}

/// Whether `path` begins a path in `line`; a folder of the same name further down does not count.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/'))
    })
}

fn title_finding(file: &SourceFile) -> Option<Finding> {
    let mut in_code = false;
    let mut titles = 0;
    for (_, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        titles += usize::from(!in_code && line.starts_with("# "));
    }
    (titles != 1).then(|| Finding::in_file(&file.path, format!("{titles} titles instead of one")))
}

fn size_finding(file: &SourceFile) -> Option<Finding> {
    let lines = file.lines().count();
    (lines > LINES_MAX)
        .then(|| Finding::in_file(&file.path, format!("{lines} lines, more than {LINES_MAX}")))
}

fn name_finding(file: &SourceFile) -> Option<Finding> {
    let name = file.path.file_name()?;
    NO_NOUNS
        .iter()
        .any(|refused| name == *refused)
        .then(|| Finding::in_file(&file.path, "a file is named by its one idea"))
}

/// A module file that no `mod` names is never compiled.
fn dead_file_finding(tree: &Tree, file: &SourceFile) -> Option<Finding> {
    if !file.has_folder("src") || is_crate_root(&file.path) {
        return None;
    }
    let (module, parents) = module_and_parents(&file.path)?;
    let declaration = format!("mod {module};");
    let declared = parents
        .iter()
        .filter_map(|parent| tree.file(parent))
        .any(|parent| parent.text.contains(&declaration));
    (!declared)
        .then(|| Finding::in_file(&file.path, format!("dead file: no {declaration} names it")))
}

fn is_crate_root(path: &Path) -> bool {
    let in_bin_folder =
        |path: &Path| path.parent().is_some_and(|folder| folder.ends_with("src/bin"));
    // `src/bin/tool.rs` or `src/bin/tool/main.rs`.
    let root_of_folder = path.ends_with("main.rs") && path.parent().is_some_and(in_bin_folder);
    path.ends_with("src/lib.rs")
        || path.ends_with("src/main.rs")
        || in_bin_folder(path)
        || root_of_folder
}

/// The module's name, and the files that may declare it.
fn module_and_parents(path: &Path) -> Option<(String, Vec<PathBuf>)> {
    let mut folder = path.parent()?;
    let mut module = path.file_stem()?.to_str()?;
    if module == "mod" {
        module = folder.file_name()?.to_str()?;
        folder = folder.parent()?;
    }
    let mut parents: Vec<PathBuf> =
        ["lib.rs", "main.rs", "mod.rs"].map(|name| folder.join(name)).into();
    parents.push(folder.with_extension("rs"));
    Some((module.to_owned(), parents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn the_repository_is_tidy() -> io::Result<()> {
        let findings = findings(&Tree::read(&tree::repository_root())?)?;
        let listed: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        assert!(findings.is_empty(), "{listed}");
        Ok(())
    }

    fn source(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    #[track_caller]
    fn check_text(line: &str, expected: &[&str]) {
        let found: Vec<_> =
            text_findings(&source("a.rs", line)).into_iter().map(|finding| finding.words).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn marks_and_machine_paths_are_found_as_whole_words() {
        check_text("let x = 1;", &[]);
        check_text(concat!("// TO", "DO: later"), &[concat!("leftover mark TO", "DO")]);
        check_text(concat!("const TO", "DOS: u8 = 1;"), &[]);
        check_text("// [MQTT-3.3.1-5] todo: why", &[]);
        check_text(concat!("dbg", "!(x);"), &[concat!("leftover mark dbg", "!(")]);
        check_text(
            concat!("    #[", "ignore = \"slow\"]"),
            &[concat!("leftover mark #[", "ignore")],
        );
        check_text(concat!("cd /", "home/main"), &[concat!("path of one machine /", "home/")]);
        check_text("\"site/home/lamp\"", &[]);
        check_text("https://example.org/home/page", &[]);
    }

    #[test]
    fn a_document_has_one_title() {
        assert_eq!(
            title_finding(&source("a.md", "# One\n\n## Part\n\n```\n# comment\n```\n")),
            None
        );
        assert_eq!(
            title_finding(&source("a.md", "text\n")),
            Some(Finding::in_file("a.md", "0 titles instead of one"))
        );
        assert_eq!(
            title_finding(&source("a.md", "# A\n# B\n")),
            Some(Finding::in_file("a.md", "2 titles instead of one"))
        );
    }

    #[test]
    fn a_module_file_is_declared_by_its_parent() {
        let tree = Tree {
            files: vec![
                source("crates/a/src/lib.rs", "mod packet;\npub mod name;\n"),
                source("crates/a/src/name.rs", ""),
                source("crates/a/src/packet/mod.rs", "mod publish;\n"),
                source("crates/a/src/packet/publish.rs", ""),
                source("crates/a/src/packet/lost.rs", ""),
                source("crates/a/src/bin/tool.rs", ""),
                source("crates/a/src/bin/other/main.rs", "mod part;\n"),
                source("crates/a/src/bin/other/part.rs", ""),
                source("crates/a/tests/flow.rs", ""),
            ],
        };
        let dead: Vec<_> =
            tree.files.iter().filter_map(|file| dead_file_finding(&tree, file)).collect();
        let expected =
            Finding::in_file("crates/a/src/packet/lost.rs", "dead file: no mod lost; names it");
        assert_eq!(dead, [expected]);
    }
}
