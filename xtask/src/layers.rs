//! The arrows between the crates: who may depend on whom, and which outside crates the lower layers may use.
//!
//! Development dependencies are free: a test may know more than the crate it tests.

use crate::finding::Finding;
use crate::tree::{SourceFile, Tree};

/// What one crate may depend on; a new entry is the most expensive kind of change and needs its reason in the commit.
struct Layer {
    manifest: &'static str,
    own: &'static [&'static str],
    /// `None` where any outside crate may be argued for.
    outside: Option<&'static [&'static str]>,
}

/// Lowest first. session and store are siblings: neither imports the other.
const LAYERS: [Layer; 9] = [
    Layer {
        manifest: "crates/topics/Cargo.toml",
        own: &[],
        outside: Some(&["arbitrary", "bytes", "hashbrown", "smallvec", "thiserror"]),
    },
    Layer {
        manifest: "crates/access/Cargo.toml",
        own: &["dunlin-topics"],
        outside: Some(&["hashbrown", "smallvec", "thiserror", "toml"]),
    },
    Layer {
        manifest: "crates/codec/Cargo.toml",
        own: &["dunlin-topics"],
        outside: Some(&["arbitrary", "bytes", "thiserror"]),
    },
    Layer {
        manifest: "crates/session/Cargo.toml",
        own: &["dunlin-codec"],
        outside: Some(&["bytes", "smallvec", "thiserror"]),
    },
    Layer {
        manifest: "crates/store/Cargo.toml",
        own: &["dunlin-codec"],
        outside: Some(&[
            "bytes",
            "crc32c",
            "fs4",
            "hashbrown",
            "rusqlite",
            "rustix",
            "smallvec",
            "thiserror",
        ]),
    },
    Layer {
        // Below MQTT: it turns sockets into plain bytes and knows nothing of what they say.
        manifest: "crates/transport/Cargo.toml",
        own: &[],
        outside: None,
    },
    Layer {
        manifest: "crates/broker/Cargo.toml",
        own: &[
            "dunlin-topics",
            "dunlin-access",
            "dunlin-codec",
            "dunlin-session",
            "dunlin-store",
            "dunlin-transport",
        ],
        outside: None,
    },
    Layer {
        manifest: "crates/auth/Cargo.toml",
        own: &["dunlin-access", "dunlin-broker"],
        outside: None,
    },
    Layer {
        manifest: "bins/dunlin/Cargo.toml",
        own: &["dunlin-access", "dunlin-auth", "dunlin-broker", "dunlin-store", "dunlin-codec"],
        outside: None,
    },
];

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for layer in &LAYERS {
        match tree.file(layer.manifest) {
            Some(manifest) => findings.extend(layer.findings(manifest)),
            None => findings.push(Finding::in_file(
                layer.manifest,
                "the layer table names it, but it is missing",
            )),
        }
    }
    findings
}

impl Layer {
    fn findings(&self, manifest: &SourceFile) -> Vec<Finding> {
        let refused = dependencies(manifest).filter(|(_, name)| !self.allows(name));
        refused
            .map(|(line, name)| {
                Finding::at(&manifest.path, line, format!("may not depend on {name}"))
            })
            .collect()
    }

    fn allows(&self, name: &str) -> bool {
        if name.starts_with("dunlin") {
            return self.own.contains(&name);
        }
        self.outside.is_none_or(|outside| outside.contains(&name))
    }
}

/// The packages a manifest depends on, with their lines. A renamed package counts by its own name.
fn dependencies(manifest: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let mut section = "";
    manifest.lines().filter_map(move |(number, line)| {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = header;
            // `[dependencies.bytes]` is a section of its own.
            return header
                .rsplit_once("dependencies.")
                .filter(|(kind, _)| is_free_of_dev(kind))
                .map(|(_, name)| (number, name));
        }
        let in_dependencies = section.strip_suffix("dependencies").is_some_and(is_free_of_dev);
        let (key, value) =
            line.split_once('=').filter(|_| in_dependencies && !line.starts_with('#'))?;
        let name = key.split('.').next().unwrap_or(key).trim();
        Some((number, renamed(value).unwrap_or(name)))
    })
}

fn is_free_of_dev(kind: &str) -> bool {
    !kind.ends_with("dev-")
}

/// `{ package = "name", ... }`.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    let (_, after) = after.split_once('"')?;
    after.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_in_every_form() {
        let text = r#"
[package]
name = "own"

[dependencies]
bytes.workspace = true
# hidden = "1"
tokio = { version = "1", features = ["rt"] }
local = { package = "outside", version = "1" }

[dependencies.smallvec]
version = "1"

[target.'cfg(unix)'.dependencies]
libc = "0.2"

[build-dependencies]
cc = "1"

[dev-dependencies]
proptest = "1"

[dev-dependencies.insta]
version = "1"
"#;
        let manifest = SourceFile { path: "Cargo.toml".into(), text: text.into() };
        let names: Vec<_> = dependencies(&manifest).map(|(_, name)| name).collect();
        // The line `version = "1"` stands in a section that is a dependency itself.
        assert_eq!(names, ["bytes", "tokio", "outside", "smallvec", "libc", "cc"]);
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_refused() {
        let text = "[dependencies]\nbytes = \"1\"\ntokio = \"1\"\ndunlin-session = \"0.1\"\n";
        let path = "crates/codec/Cargo.toml";
        let manifest = SourceFile { path: path.into(), text: text.into() };
        let layer =
            LAYERS.iter().find(|layer| layer.manifest == path).expect("the codec has a layer");
        let expected = [
            Finding::at(path, 3, "may not depend on tokio"),
            Finding::at(path, 4, "may not depend on dunlin-session"),
        ];
        assert_eq!(layer.findings(&manifest), expected);
    }
}
