//! What the code cites, set against the statements of the standards.

use std::collections::BTreeMap;
use std::{fmt, io};

use crate::citation::{self, Citation, Stance};
use crate::finding::Finding;
use crate::norms::{Norm, NormId, Norms, Standard};
use crate::tree::{SourceFile, Tree};

/// Endings of the files that may cite: the code, and the black-box suites.
const CITING: [&str; 3] = ["rs", "py", "mjs"];

/// The outcome for both standards, and what is wrong with single citations.
#[derive(Debug)]
pub(crate) struct Report {
    coverages: Vec<Coverage>,
    pub(crate) findings: Vec<Finding>,
}

/// Where the statements of one standard that bind the server are cited.
#[derive(Debug)]
struct Coverage {
    standard: Standard,
    statements: usize,
    /// Every statement that binds the server, in the standard's order.
    places: Vec<(NormId, String, Place)>,
}

/// Where one statement is cited. A statement with code may lack a test, which is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    CodeAndTest,
    CodeOnly,
    TestOnly,
    Except,
    Todo,
    Nowhere,
}

/// All citations of one statement.
#[derive(Clone, Copy, Debug, Default)]
struct Cited {
    code: bool,
    test: bool,
    except: bool,
    todo: bool,
}

type CitedById = BTreeMap<(Standard, NormId), Cited>;

pub(crate) fn report(tree: &Tree) -> io::Result<Report> {
    let norms = Norms::read(tree)?;
    let mut findings = Vec::new();
    let mut cited = CitedById::new();
    for file in tree.files.iter().filter(|file| may_cite(file)) {
        collect(file, &norms, &mut cited, &mut findings);
    }
    let coverages = Standard::ALL.map(|standard| Coverage::new(standard, &norms, &cited)).into();
    Ok(Report { coverages, findings })
}

/// This package speaks about citations without making any.
fn may_cite(file: &SourceFile) -> bool {
    CITING.iter().any(|extension| file.has_extension(extension)) && !file.path.starts_with("xtask")
}

fn collect(file: &SourceFile, norms: &Norms, cited: &mut CitedById, findings: &mut Vec<Finding>) {
    let tests_begin = file.tests_begin().unwrap_or(usize::MAX);
    for (number, line) in file.lines() {
        let (citations, faults) = citation::in_line(line);
        findings.extend(faults.into_iter().map(|fault| Finding::at(&file.path, number, fault)));
        for citation in citations {
            match unknown(&citation, norms) {
                Some(words) => findings.push(Finding::at(&file.path, number, words)),
                None => cited
                    .entry((citation.standard, citation.id))
                    .or_default()
                    .add(citation.stance, number >= tests_begin),
            }
        }
    }
}

/// Why the cited statement does not exist, if so.
fn unknown(citation: &Citation, norms: &Norms) -> Option<String> {
    let Citation { standard, id, .. } = citation;
    if norms.contains(*standard, id) {
        return None;
    }
    let hint = Standard::ALL
        .into_iter()
        .find(|other| norms.contains(*other, id))
        .map(|other| format!(", but of {}", other.name()))
        .unwrap_or_default();
    Some(format!("{id} is no statement of {}{hint}", standard.name()))
}

impl Cited {
    fn add(&mut self, stance: Stance, in_test: bool) {
        match stance {
            Stance::Except => self.except = true,
            Stance::Todo => self.todo = true,
            Stance::Obeyed if in_test => self.test = true,
            Stance::Obeyed => self.code = true,
        }
    }

    /// What is left undone counts before what is done: a half of a rule is not the rule.
    const fn place(self) -> Place {
        match self {
            Self { todo: true, .. } => Place::Todo,
            Self { except: true, .. } => Place::Except,
            Self { code: true, test: true, .. } => Place::CodeAndTest,
            Self { code: true, test: false, .. } => Place::CodeOnly,
            Self { code: false, test: true, .. } => Place::TestOnly,
            Self { code: false, test: false, .. } => Place::Nowhere,
        }
    }
}

impl Coverage {
    fn new(standard: Standard, norms: &Norms, cited: &CitedById) -> Self {
        let place_of =
            |id: &NormId| cited.get(&(standard, id.clone())).copied().unwrap_or_default().place();
        let binding = norms.of(standard).filter(|(_, norm)| norm.binds_server);
        let places = binding
            .map(|(id, Norm { statement, .. })| (id.clone(), statement.clone(), place_of(id)));
        Self { standard, statements: norms.of(standard).count(), places: places.collect() }
    }

    fn count(&self, place: Place) -> usize {
        self.places.iter().filter(|(_, _, own)| *own == place).count()
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, place: Place, title: &str) -> fmt::Result {
        if self.count(place) == 0 {
            return Ok(());
        }
        writeln!(f, "  {title}:")?;
        let mut listed = self.places.iter().filter(|(_, _, own)| *own == place);
        listed.try_for_each(|(id, statement, _)| writeln!(f, "    {id:<15} {statement}"))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} statements, {} bind the server: {} with code and test, {} code without test, {} test without code, \
             {} except, {} todo, {} nowhere",
            self.standard.name(),
            self.statements,
            self.places.len(),
            self.count(Place::CodeAndTest),
            self.count(Place::CodeOnly),
            self.count(Place::TestOnly),
            self.count(Place::Except),
            self.count(Place::Todo),
            self.count(Place::Nowhere),
        )?;
        self.list(f, Place::Nowhere, "neither code nor test")?;
        self.list(f, Place::TestOnly, "test, no code")?;
        self.list(f, Place::CodeOnly, "code, no test")?;
        self.list(f, Place::Except, "left undone on purpose")?;
        self.list(f, Place::Todo, "not yet")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.coverages.iter().try_for_each(|coverage| writeln!(f, "{coverage}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_5: &str = "id,binds,statement,section,on_violation\n\
        MQTT-1.1.1-1,server,one,s,v\n\
        MQTT-1.1.1-2,both,two,s,v\n\
        MQTT-1.1.1-3,client,three,s,v\n\
        MQTT-1.1.1-4,server,four,s,v\n";
    const TABLE_3_1_1: &str =
        "id,binds,statement,section,on_violation\nMQTT-1.1.1-9,server,nine,s,v\n";

    fn report_on(files: &[(&str, &str)]) -> io::Result<Report> {
        let tables = [("docs/spec/mqtt5.csv", TABLE_5), ("docs/spec/mqtt311.csv", TABLE_3_1_1)];
        let files = tables.iter().chain(files);
        let files =
            files.map(|(path, text)| SourceFile { path: path.into(), text: (*text).into() });
        report(&Tree { files: files.collect() })
    }

    #[test]
    fn a_statement_without_code_or_test_is_listed() -> io::Result<()> {
        let code = "// [MQTT-1.1.1-1]\nfn f() {}\n// [MQTT-1.1.1-2]\nfn g() {}\n#[cfg(test)]\nmod tests {\n// [MQTT-1.1.1-1]\n}\n";
        let report = report_on(&[("crates/a/src/lib.rs", code)])?;
        assert_eq!(report.findings, []);
        let expected = "\
MQTT 5.0: 4 statements, 3 bind the server: 1 with code and test, 1 code without test, 0 test without code, 0 except, 0 todo, 1 nowhere
  neither code nor test:
    MQTT-1.1.1-4    four
  code, no test:
    MQTT-1.1.1-2    two

MQTT 3.1.1: 1 statements, 1 bind the server: 0 with code and test, 0 code without test, 0 test without code, 0 except, 0 todo, 1 nowhere
  neither code nor test:
    MQTT-1.1.1-9    nine

";
        assert_eq!(report.to_string(), expected);
        Ok(())
    }

    #[test]
    fn an_id_of_the_other_standard_is_unknown_and_says_so() -> io::Result<()> {
        let report = report_on(&[(
            "tests/a.rs",
            "// [MQTT-1.1.1-9]\n// [MQTT-7.7.7-7 @3.1.1]\n// [MQTT-1.1.1-9 @3.1.1]\n",
        )])?;
        let expected = [
            Finding::at(
                "tests/a.rs",
                1,
                "MQTT-1.1.1-9 is no statement of MQTT 5.0, but of MQTT 3.1.1",
            ),
            Finding::at("tests/a.rs", 2, "MQTT-7.7.7-7 is no statement of MQTT 3.1.1"),
        ];
        assert_eq!(report.findings, expected);
        Ok(())
    }
}
