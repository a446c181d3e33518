//! Writing.

use std::fmt::Write as _;

use super::{
    ANONYMOUS, AUTHENTICATED, CLIENTS, DENY_PUBLISH, DENY_SUBSCRIBE, EVERYONE, OVERLAP, PUBLISH,
    REFUSED_PUBLISH, REFUSED_SUBSCRIBE_3_1, ROLES, SUBSCRIBE, TENANTS, USERS,
};
use crate::rule::{Action, Caps, Effect, Holder, Qos, Who};
use crate::rule_set::{Overlap, RuleSet, Silent};

/// Writes a rule set as a file that [`parse_rules`](crate::parse_rules) reads back: the same rules for the same holders, in
/// the order of the sections. Behind each rule stands as a comment where it came from.
#[must_use]
pub fn write_rules(rules: &RuleSet) -> String {
    let mut out = String::new();
    let options = rules.options();
    let overlap = match options.overlap {
        Overlap::Refuse => "refuse",
        Overlap::Filter => "filter",
    };
    let _ = writeln!(out, "{OVERLAP} = \"{overlap}\"");
    let _ = writeln!(out, "{REFUSED_PUBLISH} = \"{}\"", silent(options.refused_publish));
    let _ =
        writeln!(out, "{REFUSED_SUBSCRIBE_3_1} = \"{}\"", silent(options.refused_subscribe_3_1));
    let mut sections: Vec<_> = rules.sections().collect();
    sections.sort_unstable_by_key(|(holder, _)| *holder);
    // A role that is given and has no rule is defined all the same, or it could not be given.
    let defined =
        |name: &str| sections.iter().any(|(holder, _)| holder.who() == &Who::Role(name.into()));
    let given = sections.iter().flat_map(|(_, section)| section.roles());
    for role in given.filter(|role| !defined(role)).collect::<std::collections::BTreeSet<_>>() {
        let _ = writeln!(out, "\n[{ROLES}.{}]", key(role));
    }
    for (holder, section) in &sections {
        let _ = writeln!(out, "\n[{}]", heading(holder));
        let roles: Vec<_> = section.roles().map(quoted).collect();
        if !roles.is_empty() {
            let _ = writeln!(out, "{ROLES} = [{}]", roles.join(", "));
        }
        for (name, action, denies) in LISTS {
            let of_list =
                section.rules.iter().filter_map(|id| rules.rule(*id)).filter(|rule| {
                    rule.action == action && (rule.effect == Effect::Deny) == denies
                });
            let mut lines = of_list
                .map(|rule| {
                    let value = match rule.effect {
                        Effect::Deny => quoted(&rule.filter),
                        Effect::Allow(caps) => grant(&rule.filter, action, caps),
                    };
                    format!("    {value}, # {}\n", comment(&rule.origin.to_string()))
                })
                .peekable();
            if lines.peek().is_some() {
                let _ = write!(out, "{name} = [\n{}]\n", lines.collect::<String>());
            }
        }
    }
    // An empty section still closes what no rule allows.
    if sections.is_empty() && !rules.is_open() {
        let _ = writeln!(
            out,
            "\n# No rule at all, and nothing is allowed: the role only says so.\n[{ROLES}.nobody]"
        );
    }
    out
}

const LISTS: [(&str, Action, bool); 4] = [
    (PUBLISH, Action::Publish, false),
    (SUBSCRIBE, Action::Subscribe, false),
    (DENY_PUBLISH, Action::Publish, true),
    (DENY_SUBSCRIBE, Action::Subscribe, true),
];

const fn silent(silent: Silent) -> &'static str {
    match silent {
        Silent::Drop => "drop",
        Silent::Disconnect => "disconnect",
    }
}

fn heading(holder: &Holder) -> String {
    let of_tenant = holder.tenant_name().map(|tenant| format!("{TENANTS}.{}.", key(tenant)));
    let who = match holder.who() {
        Who::Everyone => EVERYONE.to_owned(),
        Who::Anonymous => ANONYMOUS.to_owned(),
        Who::Authenticated => AUTHENTICATED.to_owned(),
        Who::User(name) => format!("{USERS}.{}", key(name)),
        Who::Client(id) => format!("{CLIENTS}.{}", key(id)),
        Who::Role(name) => format!("{ROLES}.{}", key(name)),
    };
    of_tenant.unwrap_or_default() + &who
}

fn grant(filter: &str, action: Action, caps: Caps) -> String {
    if caps == Caps::default() {
        return quoted(filter);
    }
    let mut out = format!("{{ filter = {}", quoted(filter));
    if caps.qos_max < Qos::ExactlyOnce {
        let _ = write!(out, ", qos_max = {}", caps.qos_max.digit());
    }
    if !caps.retain && action == Action::Publish {
        out += ", retain = false";
    }
    out + " }"
}

/// A key, bare if it may be.
fn key(text: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !text.is_empty() && text.chars().all(is_bare) { text.to_owned() } else { quoted(text) }
}

/// A basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Nothing that would end a comment.
fn comment(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
