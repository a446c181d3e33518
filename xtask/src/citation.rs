//! Citations of the standards in code: `[MQTT-3.3.1-5]`, `[MQTT-3.3.1-8 @3.1.1]`, `[MQTT-3.1 s3.3]`.
//!
//! The two numbered standards reuse numbers for different rules, so that 3.1.1 is always marked. The bare id counts as
//! well, because the table of errors names the broken rule in a string: `"MQTT-2.1.3-1"`.

use crate::norms::{NormId, Standard};

/// What every citation begins with.
const MARK: &str = "MQTT-";

/// The mark that tells 3.1.1 from 5.0.
const MARK_3_1_1: &str = " @3.1.1";

/// The versions whose sections may be cited.
const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5.0"];

/// One citation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Citation {
    pub(crate) standard: Standard,
    pub(crate) id: NormId,
    pub(crate) stance: Stance,
}

/// What the citing line says about the statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stance {
    /// Obeyed, or proven by a test.
    Obeyed,
    /// `except: why`: left undone on purpose.
    Except,
    /// `todo: why`: not yet.
    Todo,
}

/// Every citation of a line, and what is wrong with those that cannot be read.
pub(crate) fn in_line(line: &str) -> (Vec<Citation>, Vec<String>) {
    let mut citations = Vec::new();
    let mut faults = Vec::new();
    for (start, _) in line.match_indices(MARK) {
        let (before, after) =
            (line.get(..start).unwrap_or(""), line.get(start + MARK.len()..).unwrap_or(""));
        let bracketed = before.ends_with('[');
        let Some((id, rest)) = NormId::parse_prefix(after) else {
            let means_an_id = bracketed && after.starts_with(|c: char| c.is_ascii_digit());
            if means_an_id && !is_section(after) {
                faults.push(format!("[{MARK}{} is not a citation", first_words(after)));
            }
            continue;
        };
        let (standard, rest) = rest
            .strip_prefix(MARK_3_1_1)
            .map_or((Standard::V5, rest), |rest| (Standard::V3_1_1, rest));
        if bracketed && !rest.starts_with(']') {
            faults.push(format!("[{id} is not closed by a bracket"));
        }
        match stance(rest.strip_prefix(']').unwrap_or(rest)) {
            Ok(stance) => citations.push(Citation { standard, id, stance }),
            Err(word) => faults.push(format!("[{id}] {word}: says no reason")),
        }
    }
    (citations, faults)
}

/// What has no number is cited by section, as all of MQTT 3.1: `[MQTT-3.1 s3.3]`.
fn is_section(after: &str) -> bool {
    let Some((section, _)) = after
        .split_once(" s")
        .filter(|(version, _)| VERSIONS.contains(version))
        .and_then(|(_, rest)| rest.split_once(']'))
    else {
        return false;
    };
    !section.is_empty() && section.split('.').all(|part| part.parse::<u16>().is_ok())
}

fn stance(rest: &str) -> Result<Stance, &'static str> {
    let rest = rest.trim_start();
    for (word, stance) in [("except", Stance::Except), ("todo", Stance::Todo)] {
        if let Some(why) = rest.strip_prefix(word).and_then(|rest| rest.strip_prefix(':')) {
            return if why.trim().is_empty() { Err(word) } else { Ok(stance) };
        }
    }
    Ok(Stance::Obeyed)
}

fn first_words(text: &str) -> &str {
    let end = text.find(']').map_or(text.len(), |end| end + 1);
    text.get(..end.min(30)).unwrap_or("...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[(&str, Standard, Stance)]) {
        let (citations, faults) = in_line(line);
        assert_eq!(faults, Vec::<String>::new(), "{line}");
        let found: Vec<_> =
            citations.iter().map(|c| (c.id.to_string(), c.standard, c.stance)).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(id, standard, stance)| ((*id).to_owned(), *standard, *stance))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[track_caller]
    fn check_refused(line: &str, expected: &str) {
        assert_eq!(in_line(line).1, [expected], "{line}");
    }

    #[test]
    fn citations_are_found_wherever_they_stand() {
        use Stance::{Except, Obeyed, Todo};
        use Standard::{V3_1_1, V5};

        check("let x = 1;", &[]);
        check("// [MQTT-3.3.1-5]", &[("MQTT-3.3.1-5", V5, Obeyed)]);
        check("// [MQTT-3.3.1-8 @3.1.1]: why", &[("MQTT-3.3.1-8", V3_1_1, Obeyed)]);
        check(
            "/// [MQTT-4.2-1] [MQTT-1.5.4-2]",
            &[("MQTT-4.2-1", V5, Obeyed), ("MQTT-1.5.4-2", V5, Obeyed)],
        );
        check("Self::Flags => \"MQTT-2.1.3-1\",", &[("MQTT-2.1.3-1", V5, Obeyed)]);
        check("Self::Flags => \"MQTT-2.2.2-2 @3.1.1\",", &[("MQTT-2.2.2-2", V3_1_1, Obeyed)]);
        check("// [MQTT-3.1.2-1] except: no need", &[("MQTT-3.1.2-1", V5, Except)]);
        check("// [MQTT-3.1.2-1 @3.1.1] todo: later", &[("MQTT-3.1.2-1", V3_1_1, Todo)]);
        check("// [MQTT-3.1 s3.3]", &[]);
        check("// [MQTT-5.0 s3.2.2.3.2]", &[]);
        check("// [MQTT-x.y.z-n] is the form", &[]);
    }

    #[test]
    fn a_citation_that_cannot_be_read_is_a_fault() {
        check_refused("// [MQTT-3.3.1]", "[MQTT-3.3.1] is not a citation");
        check_refused("// [MQTT-3.1 3.3]", "[MQTT-3.1 3.3] is not a citation");
        check_refused("// [MQTT-3.2 s3.3]", "[MQTT-3.2 s3.3] is not a citation");
        check_refused("// [MQTT-3.3.1-5, -6]", "[MQTT-3.3.1-5 is not closed by a bracket");
        check_refused("// [MQTT-3.3.1-5 @3.1]", "[MQTT-3.3.1-5 is not closed by a bracket");
        check_refused("// [MQTT-3.3.1-5] except:", "[MQTT-3.3.1-5] except: says no reason");
        check_refused("// [MQTT-3.3.1-5] todo: ", "[MQTT-3.3.1-5] todo: says no reason");
    }
}
