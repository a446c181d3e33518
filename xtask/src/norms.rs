//! The normative statements of both numbered standards, from the tables in `docs/spec/`.

use std::collections::BTreeMap;
use std::io;

use crate::csv;
use crate::tree::Tree;

/// The first line of both tables.
const HEADER: [&str; 5] = ["id", "binds", "statement", "section", "on_violation"];

/// A standard that numbers its statements. MQTT 3.1 does not.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Standard {
    V5,
    V3_1_1,
}

impl Standard {
    pub(crate) const ALL: [Self; 2] = [Self::V5, Self::V3_1_1];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V5 => "MQTT 5.0",
            Self::V3_1_1 => "MQTT 3.1.1",
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Self::V5 => "docs/spec/mqtt5.csv",
            Self::V3_1_1 => "docs/spec/mqtt311.csv",
        }
    }
}

/// The number of a statement within its standard, ordered as the standards order them.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct NormId {
    pub(crate) section: Vec<u16>,
    pub(crate) number: u16,
}

impl NormId {
    /// Reads `3.3.1-5` at the start of `text`; gives what follows it too.
    pub(crate) fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (section, rest) = text.split_once('-')?;
        let (number, rest) =
            rest.split_at(rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        let section = section.split('.').map(str::parse).collect::<Result<Vec<u16>, _>>().ok()?;
        let number = number.parse().ok()?;
        (section.len() >= 2).then_some((Self { section, number }, rest))
    }
}

impl std::fmt::Display for NormId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let section: Vec<String> = self.section.iter().map(u16::to_string).collect();
        f.pad(&format!("MQTT-{}-{}", section.join("."), self.number))
    }
}

/// One statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Norm {
    pub(crate) binds_server: bool,
    pub(crate) statement: String,
}

/// All statements of both standards.
#[derive(Debug, Default)]
pub(crate) struct Norms {
    by_id: BTreeMap<(Standard, NormId), Norm>,
}

impl Norms {
    pub(crate) fn read(tree: &Tree) -> io::Result<Self> {
        let mut norms = Self::default();
        for standard in Standard::ALL {
            let path = standard.table();
            let file = tree.file(path).ok_or_else(|| invalid(path, 0, "the table is missing"))?;
            for (number, line) in file.lines() {
                let fields = csv::fields(line);
                if number == 1 && fields != HEADER {
                    return Err(invalid(
                        path,
                        number,
                        &format!("the header is not {}", HEADER.join(",")),
                    ));
                }
                if number > 1 {
                    norms.add(standard, &fields).map_err(|words| invalid(path, number, &words))?;
                }
            }
        }
        Ok(norms)
    }

    fn add(&mut self, standard: Standard, fields: &[String]) -> Result<(), String> {
        let [id, binds, statement, _section, _on_violation] = fields else {
            return Err(format!("{} fields instead of {}", fields.len(), HEADER.len()));
        };
        let (parsed, rest) = id
            .strip_prefix("MQTT-")
            .and_then(NormId::parse_prefix)
            .ok_or("the id is not of the form MQTT-x.y.z-n")?;
        if !rest.is_empty() {
            return Err(format!("{id} has more than an id in its first field"));
        }
        let binds_server = match binds.as_str() {
            "server" | "both" => true,
            "client" => false,
            other => return Err(format!("{other:?} is none of client, server, both")),
        };
        let norm = Norm { binds_server, statement: statement.clone() };
        match self.by_id.insert((standard, parsed), norm) {
            None => Ok(()),
            Some(_) => Err(format!("{id} stands here twice")),
        }
    }

    pub(crate) fn contains(&self, standard: Standard, id: &NormId) -> bool {
        self.by_id.contains_key(&(standard, id.clone()))
    }

    pub(crate) fn of(&self, standard: Standard) -> impl Iterator<Item = (&NormId, &Norm)> {
        self.by_id
            .iter()
            .filter(move |((own, _), _)| *own == standard)
            .map(|((_, id), norm)| (id, norm))
    }
}

fn invalid(path: &str, line: usize, words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path}:{line}: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn the_tables_hold_every_statement_of_both_standards() -> io::Result<()> {
        let norms = Norms::read(&Tree::read(&tree::repository_root())?)?;
        let counts = Standard::ALL.map(|standard| norms.of(standard).count());
        assert_eq!(counts, [251, 141]);
        Ok(())
    }

    #[track_caller]
    fn check_id(text: &str, expected: Option<(&str, &str)>) {
        let parsed = NormId::parse_prefix(text).map(|(id, rest)| (id.to_string(), rest));
        assert_eq!(parsed.as_ref().map(|(id, rest)| (id.as_str(), *rest)), expected, "{text}");
    }

    #[test]
    fn an_id_is_a_section_a_dash_and_a_number() {
        check_id("3.3.1-5]", Some(("MQTT-3.3.1-5", "]")));
        check_id("4.2-1", Some(("MQTT-4.2-1", "")));
        check_id("3.3.1-5. Then", Some(("MQTT-3.3.1-5", ". Then")));
        check_id("3.3.1-8 @3.1.1]", Some(("MQTT-3.3.1-8", " @3.1.1]")));
        check_id("3.1 s3.3]", None);
        check_id("x.y.z-n", None);
        check_id("3-1", None);
        check_id("3.3.1-", None);
        check_id("3.3.1-70000", None);
    }
}
