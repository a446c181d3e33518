//! Reading.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{
    ANONYMOUS, AUTHENTICATED, CLIENTS, DENY_PUBLISH, DENY_SUBSCRIBE, EVERYONE, FILTER, OVERLAP,
    PUBLISH, QOS_MAX, REFUSED_PUBLISH, REFUSED_SUBSCRIBE_3_1, RETAIN, ROLES, RULES_FILE_BYTES_MAX,
    SUBSCRIBE, TENANTS, USERS,
};
use crate::nearest::nearest;
use crate::problem::{Lines, Problem};
use crate::rule::{Action, Caps, Effect, Holder, Qos, Who};
use crate::rule_set::{Options, Overlap, RuleSet, RuleSetBuilder, Silent};

/// Reads a file of rules. `name` is the file's, as it is to stand in origins and problems.
///
/// The keys at the top are `overlap`, `refused_publish` and `refused_subscribe_3_1`, which are [`Options`]; the sections are
/// `[everyone]`, `[anonymous]`, `[authenticated]`, `[roles.NAME]`, `[users.NAME]`, `[clients.NAME]` and, for one tenant only,
/// the same behind `tenants.NAME`. A section holds lists of filters under `publish`, `subscribe`, `deny_publish` and
/// `deny_subscribe`, and, unless it is a role's, a list of `roles`. A filter that allows may be a table
/// `{ filter = "...", qos_max = 1, retain = false }`.
///
/// ```
/// use dunlin_access::parse_rules;
///
/// let rules = parse_rules("acl.toml", r#"
///     [roles.reader]
///     subscribe = ["{tenantId}/read/#"]
///
///     [users.alice]
///     roles = ["reader"]
///     publish = [{ filter = "alice/#", qos_max = 1, retain = false }]
/// "#);
/// let rules = rules.expect("the file is good");
/// assert_eq!(rules.rules().map(|rule| rule.origin().line).collect::<Vec<_>>(), [3, 7]);
///
/// let problems = parse_rules("acl.toml", "[roles.reader]\nsubscibe = ['a/#']").unwrap_err();
/// assert_eq!(problems[0].to_string(), "acl.toml:2: unknown key `subscibe`: did you mean `subscribe`?");
/// ```
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the lines. A text that is no TOML ends at the first problem.
pub fn parse_rules(name: &str, text: &str) -> Result<RuleSet, Vec<Problem>> {
    let lines = Lines::new(name, text);
    if text.len() > RULES_FILE_BYTES_MAX {
        return Err(vec![lines.problem(0, format!("more than {RULES_FILE_BYTES_MAX} bytes"))]);
    }
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        vec![lines.problem(error.span().map_or(0, |span| span.start), message)]
    })?;
    let mut reader = Reader::default();
    reader.root(table.get_ref());
    reader.finish(&lines)
}

/// What was found, with offsets, since the parser's tables are sorted by name.
#[derive(Default)]
struct Reader {
    options: Options,
    rules: Vec<(usize, FoundRule)>,
    /// Roles given.
    given: Vec<(usize, Holder, String)>,
    /// Roles defined, each with its tenant.
    defined: BTreeSet<(Option<String>, String)>,
    problems: Vec<(usize, String)>,
}

struct FoundRule {
    holder: Holder,
    action: Action,
    effect: Effect,
    filter: String,
}

type Item<'a, 'de> = (&'a str, usize, &'a DeValue<'de>);

impl Reader {
    fn root(&mut self, table: &DeTable<'_>) {
        for (key, offset, value) in items(table) {
            match key {
                OVERLAP => {
                    let words = [("refuse", Overlap::Refuse), ("filter", Overlap::Filter)];
                    self.options.overlap = self.word(key, offset, value, words);
                }
                REFUSED_PUBLISH => {
                    self.options.refused_publish = self.word(key, offset, value, SILENT);
                }
                REFUSED_SUBSCRIBE_3_1 => {
                    self.options.refused_subscribe_3_1 = self.word(key, offset, value, SILENT);
                }
                TENANTS => self.named(key, offset, value, |reader, tenant, table| {
                    for (key, offset, value) in items(table) {
                        if !reader.scope(Some(tenant), (key, offset, value)) {
                            reader.unknown(key, offset, &SCOPE_KEYS);
                        }
                    }
                }),
                _ => {
                    if !self.scope(None, (key, offset, value)) {
                        let options = [OVERLAP, REFUSED_PUBLISH, REFUSED_SUBSCRIBE_3_1, TENANTS];
                        let known = [&options[..], &SCOPE_KEYS].concat();
                        self.unknown(key, offset, &known);
                    }
                }
            }
        }
    }

    /// What may stand at the top and in a tenant; false if it is nothing of the kind.
    fn scope(&mut self, tenant: Option<&str>, (key, offset, value): Item<'_, '_>) -> bool {
        let one = match key {
            EVERYONE => Some(Who::Everyone),
            ANONYMOUS => Some(Who::Anonymous),
            AUTHENTICATED => Some(Who::Authenticated),
            _ => None,
        };
        if let Some(who) = one {
            match value.as_table() {
                Some(table) => self.section(&Holder::new(tenant, who), table),
                None => self.problem(offset, format!("`{key}` must be a section, [{key}]")),
            }
            return true;
        }
        match key {
            ROLES => self.named(key, offset, value, |reader, name, table| {
                let role = (tenant.map(str::to_owned), name.to_owned());
                reader.defined.insert(role);
                reader.section(&Holder::new(tenant, Who::Role(name.into())), table);
            }),
            USERS => self.named(key, offset, value, |reader, name, table| {
                reader.section(&Holder::new(tenant, Who::User(name.into())), table);
            }),
            CLIENTS => self.named(key, offset, value, |reader, name, table| {
                reader.section(&Holder::new(tenant, Who::Client(name.into())), table);
            }),
            _ => return false,
        }
        true
    }

    /// A table of sections by name.
    fn named(
        &mut self,
        key: &str,
        offset: usize,
        value: &DeValue<'_>,
        mut each: impl FnMut(&mut Self, &str, &DeTable<'_>),
    ) {
        let Some(table) = value.as_table() else {
            return self.problem(offset, format!("`{key}` must be sections, [{key}.NAME]"));
        };
        for (name, offset, value) in items(table) {
            match value.as_table() {
                _ if name.is_empty() => self.problem(offset, "a name must not be empty"),
                Some(table) => each(self, name, table),
                None => self.problem(offset, format!("`{key}.{name}` must be a section")),
            }
        }
    }

    /// The rules and roles of one holder.
    fn section(&mut self, holder: &Holder, table: &DeTable<'_>) {
        for (key, offset, value) in items(table) {
            let (action, denies) = match key {
                PUBLISH => (Action::Publish, false),
                SUBSCRIBE => (Action::Subscribe, false),
                DENY_PUBLISH => (Action::Publish, true),
                DENY_SUBSCRIBE => (Action::Subscribe, true),
                ROLES if !holder.is_role() => {
                    self.roles(holder, key, offset, value);
                    continue;
                }
                ROLES => {
                    self.problem(offset, "a role cannot be given roles");
                    continue;
                }
                _ => {
                    self.unknown(key, offset, &SECTION_KEYS);
                    continue;
                }
            };
            let Some(list) = self.list(key, offset, value) else { continue };
            for each in list {
                self.rule(holder, action, denies, each);
            }
        }
    }

    fn roles(&mut self, holder: &Holder, key: &str, offset: usize, value: &DeValue<'_>) {
        for each in self.list(key, offset, value).into_iter().flatten() {
            let offset = each.span().start;
            match each.get_ref().as_str() {
                Some(role) => self.given.push((offset, holder.clone(), role.to_owned())),
                None => self.problem(offset, "a role must be a name in quotes"),
            }
        }
    }

    fn rule(
        &mut self,
        holder: &Holder,
        action: Action,
        denies: bool,
        value: &Spanned<DeValue<'_>>,
    ) {
        let offset = value.span().start;
        let found = match value.get_ref() {
            DeValue::String(filter) => Some((filter.to_string(), Caps::default())),
            DeValue::Table(table) if denies => {
                let is_filter_alone = table.len() == 1 && table.contains_key(FILTER);
                if !is_filter_alone {
                    let message = "a rule that denies has a filter and nothing else";
                    return self.problem(offset, message);
                }
                self.filter_with_caps(action, offset, table)
            }
            DeValue::Table(table) => self.filter_with_caps(action, offset, table),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let message = "a rule must be a filter in quotes, or { filter = \"...\", ... }";
                return self.problem(offset, message);
            }
        };
        let Some((filter, caps)) = found else { return };
        let effect = if denies { Effect::Deny } else { Effect::Allow(caps) };
        self.rules.push((offset, FoundRule { holder: holder.clone(), action, effect, filter }));
    }

    fn filter_with_caps(
        &mut self,
        action: Action,
        offset: usize,
        table: &DeTable<'_>,
    ) -> Option<(String, Caps)> {
        let mut filter = None;
        let mut caps = Caps::default();
        for (key, offset, value) in items(table) {
            match (key, value) {
                (FILTER, DeValue::String(text)) => filter = Some(text.to_string()),
                (FILTER, _) => self.problem(offset, "`filter` must be a text in quotes"),
                (QOS_MAX, DeValue::Integer(digits)) => {
                    let digit = u8::from_str_radix(digits.as_str(), digits.radix()).ok();
                    match digit.and_then(Qos::of_digit) {
                        Some(qos) => caps.qos_max = qos,
                        None => self.problem(offset, "`qos_max` must be 0, 1 or 2"),
                    }
                }
                (QOS_MAX, _) => self.problem(offset, "`qos_max` must be 0, 1 or 2"),
                (RETAIN, _) if action == Action::Subscribe => {
                    self.problem(offset, "`retain` is about publishing");
                }
                (RETAIN, DeValue::Boolean(retain)) => caps.retain = *retain,
                (RETAIN, _) => self.problem(offset, "`retain` must be true or false"),
                _ => self.unknown(key, offset, &[FILTER, QOS_MAX, RETAIN]),
            }
        }
        if filter.is_none() && !table.contains_key(FILTER) {
            self.problem(offset, "a rule without a `filter`");
        }
        Some((filter?, caps))
    }

    fn list<'a, 'de>(
        &mut self,
        key: &str,
        offset: usize,
        value: &'a DeValue<'de>,
    ) -> Option<&'a DeArray<'de>> {
        let list = value.as_array();
        if list.is_none() {
            self.problem(offset, format!("`{key}` must be a list, [\"...\"]"));
        }
        list
    }

    fn word<T: Copy + Default, const N: usize>(
        &mut self,
        key: &str,
        offset: usize,
        value: &DeValue<'_>,
        words: [(&str, T); N],
    ) -> T {
        let said = value.as_str();
        let known = words.iter().find(|(word, _)| said == Some(word));
        if known.is_none() {
            let all = words.map(|(word, _)| format!("\"{word}\"")).join(" or ");
            self.problem(offset, format!("`{key}` must be {all}"));
        }
        known.map(|(_, meaning)| *meaning).unwrap_or_default()
    }

    fn unknown(&mut self, key: &str, offset: usize, known: &[&'static str]) {
        let advice = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        self.problem(offset, format!("unknown key `{key}`: {advice}"));
    }

    fn problem(&mut self, offset: usize, message: impl Into<String>) {
        self.problems.push((offset, message.into()));
    }

    fn finish(mut self, lines: &Lines) -> Result<RuleSet, Vec<Problem>> {
        let mut builder = RuleSet::builder();
        builder.options(self.options);
        self.rules.sort_by_key(|(offset, _)| *offset);
        for (offset, FoundRule { holder, action, effect, filter }) in
            std::mem::take(&mut self.rules)
        {
            let added = builder.add(holder, action, effect, &filter, lines.origin(offset));
            if let Err(error) = added.map(|_| ()) {
                self.problem(offset, format!("`{filter}`: {error}"));
            }
        }
        self.give_roles(&mut builder);
        if self.problems.is_empty() {
            return Ok(builder.build());
        }
        self.problems.sort();
        let problems = self.problems.into_iter();
        Err(problems.map(|(offset, message)| lines.problem(offset, message)).collect())
    }

    fn give_roles(&mut self, builder: &mut RuleSetBuilder) {
        if !self.defined.is_empty() {
            builder.close();
        }
        for (offset, holder, role) in std::mem::take(&mut self.given) {
            // What stands at the top may mean a role of any tenant.
            let is_meant = |(tenant, _): &&(Option<String>, String)| {
                holder.tenant_name().is_none()
                    || tenant.is_none()
                    || tenant.as_deref() == holder.tenant_name()
            };
            let mut known = self.defined.iter().filter(is_meant).map(|(_, name)| &**name);
            if known.clone().any(|name| name == role) {
                builder.give_role(holder, &role);
                continue;
            }
            let near = nearest(&role, &mut known).map(|near| format!(": did you mean `{near}`?"));
            let message = format!("no role `{role}` is defined{}", near.unwrap_or_default());
            self.problem(offset, message);
        }
    }
}

const SILENT: [(&str, Silent); 2] = [("drop", Silent::Drop), ("disconnect", Silent::Disconnect)];
const SCOPE_KEYS: [&str; 6] = [EVERYONE, ANONYMOUS, AUTHENTICATED, ROLES, USERS, CLIENTS];
const SECTION_KEYS: [&str; 5] = [PUBLISH, SUBSCRIBE, DENY_PUBLISH, DENY_SUBSCRIBE, ROLES];

/// The items of a table with the offsets of their keys.
fn items<'a, 'de>(table: &'a DeTable<'de>) -> impl Iterator<Item = Item<'a, 'de>> {
    table.iter().map(|(key, value)| (&**key.get_ref(), key.span().start, value.get_ref()))
}
