//! The configuration file that a plan comes to.

use std::fmt::Write as _;

use super::plan::{Entry, Plan};

const HEAD: &str = "\
# Made by `dunlin import mosquitto`. What it leaves out is as in `dunlin config --defaults`.
";

/// The text of `dunlin.toml`.
pub(super) fn configuration(plan: &Plan) -> String {
    let mut out = HEAD.to_owned();
    for (section, entries) in &plan.sections {
        out.push('\n');
        if !section.is_empty() {
            let _ = writeln!(out, "[{section}]");
        }
        out += &lines(entries);
    }
    for step in &plan.steps {
        let _ = write!(out, "\n[auth.{}]\n{}", step.name, lines(&step.entries));
    }
    for listener in &plan.listeners {
        let text = format!("[listeners.{}]\n{}", listener.name, lines(&listener.entries));
        match listener.withheld {
            None => out += &format!("\n{text}"),
            Some(reason) => {
                let _ = write!(out, "\n# Not opened: {reason}.\n{}", comment(&text));
            }
        }
    }
    if !plan.bridges.is_empty() {
        out += "\n# Bridges, which are not there yet:\n";
        for line in &plan.bridges {
            out += &comment(format!("{} {}", line.keyword, line.shown()).trim_end());
        }
    }
    out
}

fn lines(entries: &[Entry]) -> String {
    entries.iter().map(|Entry { key, value }| format!("{key} = {value}\n")).collect()
}

/// A comment of TOML takes no control character but the tab.
fn comment(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\t' | '\n' => letter,
        _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    let text: String = text.chars().map(shown).collect();
    text.lines().map(|line| format!("# {line}\n")).collect()
}
