//! The rules about who may do what, as the configuration names their file.

use std::path::Path;

use dunlin_access::{RuleSet, parse_rules};

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::problem::{Origin, Problem};

/// Reads the rules; without a file there are none, and everybody may do everything.
pub(crate) fn read(configuration: &Configuration) -> Result<RuleSet, Failure> {
    match &configuration.access.file {
        Some(path) => read_file(path),
        None => Ok(RuleSet::default()),
    }
}

fn read_file(path: &Path) -> Result<RuleSet, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let origin = Origin::Flag(format!("access.file {name}"));
        Failure::Configuration(vec![Problem::new(origin, format!("cannot be read: {error}"))])
    })?;
    parse_rules(&name, &text).map_err(|problems| {
        Failure::Configuration(problems.into_iter().map(Problem::from).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_its_slips_are_named_with_their_lines() {
        let folder = std::env::temp_dir().join(format!("dunlin-rules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("acl.toml");
        let mut configuration = Configuration::default();
        assert!(read(&configuration).expect("no rules").is_open());
        configuration.access.file = Some(file.clone());
        let missing = read(&configuration).expect_err("there is no file").to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(&file, "[roles.reader]\nsubscribe = [\"a/#\"]\n").expect("a file");
        assert_eq!(read(&configuration).expect("rules").rules().len(), 1);
        std::fs::write(&file, "[roles.reader]\nsubscibe = [\"a/#\"]\n").expect("a file");
        let slip = read(&configuration).expect_err("a slip").to_string();
        assert!(slip.contains("acl.toml:2: unknown key `subscibe`"), "{slip}");
        std::fs::remove_dir_all(&folder).expect("it was made here");
    }
}
