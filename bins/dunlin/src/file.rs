//! The configuration file: reading it with the line of each value, and writing the whole of it with its comments.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use dunlin_broker::config::{Durability, DurabilityRule, QuotaRule, TopicFilter};
use dunlin_broker::{ListenerConfig, TenantExport, TopicName};
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use crate::authentication::{AuthKind, AuthSection, AuthSettings};
use crate::configuration::{Assignment, Configuration, ExportDraft, RuleDraft};
use crate::problem::{Origin, Problem};
use crate::quota::QuotaDraft;
use crate::settings::{AUTH, EXPORT, KINDS, LISTENER, QUOTA, RULE, SECTIONS, Setting};

/// Reads the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<Assignment>, Vec<Problem>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let origin = Origin::Flag(format!("configuration file {name}"));
        vec![Problem::new(origin, format!("cannot be read: {error}"))]
    })?;
    parse(&name, &text)
}

/// Every `key = value` of `text` in the order of the lines.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Assignment>, Vec<Problem>> {
    let mut walk = Walk { name: name.into(), text, found: Vec::new(), problems: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let origin = walk.origin(error.span().map_or(0, |span| span.start));
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            return Err(vec![Problem::new(origin, message)]);
        }
    };
    walk.table("", table.get_ref());
    if !walk.problems.is_empty() {
        return Err(walk.problems);
    }
    walk.found.sort_by_key(|(offset, _)| *offset);
    Ok(walk.found.into_iter().map(|(_, assignment)| assignment).collect())
}

struct Walk<'a> {
    name: Rc<str>,
    text: &'a str,
    /// With the offset of the key, since the parser's tables are sorted by name.
    found: Vec<(usize, Assignment)>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            let offset = key.span().start;
            if let DeValue::Table(inner) = value.get_ref() {
                self.inner_table(&path, offset, inner);
            } else if let Some(rules) = tables(value.get_ref())
                && let Some(kind) = RULES.iter().find(|kind| kind.name == path)
            {
                self.rules(kind, &rules);
            } else {
                let value = text_of(value.get_ref());
                let origin = self.origin(offset);
                self.found.push((offset, Assignment { path, value, origin }));
            }
        }
    }

    /// Each with a number of its own, counted from 1: `durability.1.filter`.
    fn rules(&mut self, kind: &Rules, rules: &[(usize, &DeTable<'_>)]) {
        for (index, &(offset, rule)) in rules.iter().enumerate() {
            if rule.is_empty() {
                let message = format!("a rule [[{}]] without {}", kind.name, kind.needs);
                self.problems.push(Problem::new(self.origin(offset), message));
            }
            self.table(&format!("{}.{}", kind.name, index + 1), rule);
        }
    }

    /// Sections are one deep, those with a name two. A table elsewhere is somebody's idea of a value.
    fn inner_table(&mut self, path: &str, offset: usize, table: &DeTable<'_>) {
        let is_named = |sections: &str| {
            let name = path.strip_prefix(sections).and_then(|rest| rest.strip_prefix('.'));
            name.is_some_and(|name| !name.contains('.'))
        };
        let is_listener = is_named("listeners");
        let is_auth = is_named("auth");
        let is_section = !path.contains('.');
        if let Some(Rules { name, .. }) = RULES.iter().find(|kind| kind.name == path) {
            let message =
                format!("a rule has double brackets, [[{name}]], since there may be several");
            return self.problems.push(Problem::new(self.origin(offset), message));
        }
        if !is_section && !is_listener && !is_auth {
            let message = format!("`{path}` must be a value, not a table");
            return self.problems.push(Problem::new(self.origin(offset), message));
        }
        if is_listener && table.is_empty() {
            let message = format!("[{path}] says no `address`");
            return self.problems.push(Problem::new(self.origin(offset), message));
        }
        if is_auth && table.is_empty() {
            let message = format!("[{path}] says nothing");
            return self.problems.push(Problem::new(self.origin(offset), message));
        }
        let is_known = ["listeners", "auth"].contains(&path)
            || SECTIONS.iter().any(|section| section.name == path);
        if table.is_empty() && !is_known && !is_listener {
            return self
                .problems
                .push(Problem::new(self.origin(offset), format!("unknown section [{path}]")));
        }
        self.table(path, table);
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File { name: Rc::clone(&self.name), line: before.matches('\n').count() + 1 }
    }
}

/// The tables of an array that holds nothing else, each with its offset.
fn tables<'a, 'de>(value: &'a DeValue<'de>) -> Option<Vec<(usize, &'a DeTable<'de>)>> {
    let table =
        |each: &'a Spanned<DeValue<'de>>| Some((each.span().start, each.get_ref().as_table()?));
    value.as_array()?.iter().map(table).collect()
}

/// A TOML value as the text that the notations read.
fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => decimal(integer),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) => list_of(array),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// TOML also has `0x10`, `0o17` and `0b11`; what is too large to be a number stays as it was written.
fn decimal(integer: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(integer.as_str(), integer.radix());
    value.map_or_else(|_| integer.to_string(), |value| value.to_string())
}

fn list_of(array: &DeArray<'_>) -> String {
    let items: Vec<String> = array.iter().map(Spanned::get_ref).map(text_of).collect();
    items.join(", ")
}

/// An array of tables.
struct Rules {
    name: &'static str,
    /// What each of them must say.
    needs: &'static str,
}

const DURABILITY: &str = "durability";
const QUOTAS: &str = "quotas";
const EXPORTS: &str = "tenants.exports";

const RULES: [Rules; 3] = [
    Rules { name: DURABILITY, needs: "a `filter` and a `level`" },
    Rules { name: QUOTAS, needs: "a `for`" },
    Rules { name: EXPORTS, needs: "a `from`, a `filter` and a `to`" },
];

const HEAD: &str = "\
# The configuration of dunlin, an MQTT broker.
#
# Every key is here with its value. A file holds only what differs: what it leaves out is as in
# `dunlin config --defaults`. Bytes are numbers or \"64 KiB\", \"16 MiB\", \"1 GiB\"; times are \"500ms\", \"10s\", \"5min\",
# \"2h\", \"7d\". Each key can also be given as a variable, `DUNLIN_LIMITS_OVERFLOW=drop_oldest`, which wins over the file;
# options of the command line win over both.
";

const RULES_HEAD: &str = "\
# What an acknowledgement promises for some topics: a table [[durability]] each, of which the first that matches counts.
# Rules stand in the file only.
";

const QUOTAS_HEAD: &str = "\
# Who may do how much: a table [[quotas]] each, docs/LIMITS.md. All that are about a client hold for it, of each limit the
# tightest; where one names somebody, it goes before the one for each. Rules stand in the file only.
";

const NO_RULES: &str = "\
# There is none. For instance:
#
";

const EXPORTS_HEAD: &str = "\
# What tenants show each other: a table [[tenants.exports]] each. Without any they have nothing in common. Rules stand in
# the file only.
";

const AUTHS: &str = "\
# How clients are known: a section [auth.NAME] each, asked in their order unless a listener names those that it asks.
";

const NO_AUTHS: &str = "\
# There is none, so clients come in without credentials or not at all. For instance:
#
";

const LISTENERS: &str = "\
# Where clients connect: a section [listeners.NAME] each. The name appears in logs and metrics.
";

const NO_LISTENERS: &str = "\
# There is none, so the broker listens on 127.0.0.1:1883 and [::1]:1883 and lets this machine's clients in. For instance:
#
";

/// The whole file with every value of `configuration`. Without rules or listeners an example stands as a comment.
pub(crate) fn write(configuration: &Configuration) -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        if !section.name.is_empty() {
            let _ = write!(out, "\n{}\n[{}]\n", comment(section.about).trim_end(), section.name);
        }
        write_settings(&mut out, section.settings, configuration);
    }
    write_rules(&mut out, &configuration.broker.durability_rules);
    write_quotas(&mut out, &configuration.broker.quotas);
    write_exports(&mut out, &configuration.broker.tenants.exports);
    write_auths(&mut out, &configuration.auth);
    let _ = write!(out, "\n{LISTENERS}");
    if configuration.broker.listeners.is_empty() {
        out.push_str(NO_LISTENERS);
        out.push_str(&comment_out(&listener(&example_listener())));
    }
    for each in &configuration.broker.listeners {
        let _ = write!(out, "\n{}", listener(each));
    }
    out
}

fn write_rules(out: &mut String, rules: &[DurabilityRule]) {
    let _ = write!(out, "\n{RULES_HEAD}");
    if rules.is_empty() {
        out.push_str(NO_RULES);
        out.push_str(&comment_out(&rule(&example_rule())));
    }
    for each in rules {
        let draft = RuleDraft { filter: Some(each.filter.clone()), level: Some(each.level) };
        let _ = write!(out, "\n{}", rule(&draft));
    }
}

fn write_quotas(out: &mut String, rules: &[QuotaRule]) {
    let _ = write!(out, "\n{QUOTAS_HEAD}");
    if rules.is_empty() {
        out.push_str(NO_RULES);
        out.push_str(&comment_out(&quota(&QuotaDraft::example())));
    }
    for each in rules {
        let _ = write!(out, "\n{}", quota(&QuotaDraft::of(each)));
    }
}

fn quota(draft: &QuotaDraft) -> String {
    let mut out = format!("[[{QUOTAS}]]\n");
    write_settings(&mut out, QUOTA, draft);
    out
}

fn rule(draft: &RuleDraft) -> String {
    let mut out = format!("[[{DURABILITY}]]\n");
    write_settings(&mut out, RULE, draft);
    out
}

fn write_exports(out: &mut String, rules: &[TenantExport]) {
    let _ = write!(out, "\n{EXPORTS_HEAD}");
    if rules.is_empty() {
        out.push_str(NO_RULES);
        out.push_str(&comment_out(&export(&example_export())));
    }
    for each in rules {
        let _ = write!(out, "\n{}", export(&each.into()));
    }
}

fn export(draft: &ExportDraft) -> String {
    let mut out = format!("[[{EXPORTS}]]\n");
    write_settings(&mut out, EXPORT, draft);
    out
}

/// What one tenant publishes for others.
fn example_export() -> ExportDraft {
    ExportDraft {
        from: Some("weather".to_owned()),
        filter: TopicFilter::new("public/#").ok(),
        to: Some("acme".to_owned()),
        below: TopicName::new("shared/weather").ok(),
    }
}

/// Readings of which the next is never far.
fn example_rule() -> RuleDraft {
    RuleDraft { filter: TopicFilter::new("telemetry/#").ok(), level: Some(Durability::Os) }
}

fn write_auths(out: &mut String, sections: &[AuthSection]) {
    let _ = write!(out, "\n{AUTHS}");
    if sections.is_empty() {
        out.push_str(NO_AUTHS);
        out.push_str(&comment_out(&auth(&example_auth())));
    }
    for each in sections {
        let _ = write!(out, "\n{}", auth(each));
    }
}

fn auth(section: &AuthSection) -> String {
    let mut out = String::new();
    for kind in KINDS.iter().filter(|kind| kind.kind == section.kind) {
        let _ = writeln!(out, "{}[auth.{}]", comment(kind.about), section.name);
        let settings = AuthSettings { kind: Some(section.kind), ..section.settings.clone() };
        write_settings(&mut out, AUTH, &settings);
        write_settings(&mut out, kind.settings, &settings);
        write_settings(&mut out, kind.shared, &settings);
    }
    out
}

/// Names and passwords, as most people begin.
fn example_auth() -> AuthSection {
    let mut settings = AuthSettings { kind: Some(AuthKind::File), ..AuthSettings::default() };
    settings.file.path = Some("users".into());
    AuthSection { name: "file".to_owned(), kind: AuthKind::File, settings }
}

/// What most people want next: the machines around this one. It works as it stands once it is no comment any more.
fn example_listener() -> ListenerConfig {
    let mut example = ListenerConfig::new("lan", SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1883)));
    example.allow_anonymous = true;
    example
}

fn listener(config: &ListenerConfig) -> String {
    let mut out = format!("[listeners.{}]\n", config.name);
    write_settings(&mut out, LISTENER, config);
    out
}

fn write_settings<T>(out: &mut String, settings: &[Setting<T>], owner: &T) {
    for setting in settings {
        let _ = write!(
            out,
            "\n{}{} = {}\n",
            comment(setting.about),
            setting.key,
            (setting.write)(owner)
        );
    }
}

fn comment(about: &str) -> String {
    about.lines().map(|line| format!("#{line}\n")).collect()
}

fn comment_out(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use dunlin_broker::Endpoint;

    use super::*;
    use crate::configuration::{Sources, assemble};

    fn problems(text: &str) -> Vec<String> {
        parse("dunlin.toml", text).expect_err(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_file_is_reviewed() {
        insta::assert_snapshot!("default-file", write(&Configuration::default()));
    }

    #[test]
    fn the_default_file_says_exactly_the_defaults() {
        let assignments =
            parse("default", &write(&Configuration::default())).expect("the file parses");
        let expected: usize = SECTIONS.iter().map(|section| section.settings.len()).sum();
        assert_eq!(assignments.len(), expected, "every key is there and not commented out");

        let mut configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        configuration.broker.listeners.clear(); // They stand for having said nothing, which is what the file says.
        assert_eq!(configuration, Configuration::default());
    }

    #[test]
    fn the_listener_in_its_comments_works_without_the_comment_marks() {
        let file = write(&Configuration::default());
        let (_, example) = file.rsplit_once("For instance:\n").expect("an example");
        let assignments = without_marks(example);
        assert_eq!(assignments.len(), LISTENER.len(), "every key is there");
        let configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        assert_eq!(configuration.broker.listeners, [example_listener()]);
    }

    /// The keys of an example that stands as a comment.
    fn without_marks(example: &str) -> Vec<Assignment> {
        let text: String = example
            .lines()
            .map(|line| format!("{}\n", line.trim_start_matches('#').trim_start()))
            .collect();
        let plain = text.lines().filter(|line| line.starts_with('[') || line.contains(" = "));
        let text = plain.fold(String::new(), |text, line| text + line + "\n");
        parse("x", &text).expect("it parses")
    }

    #[test]
    fn the_rule_in_its_comments_works_without_the_comment_marks() {
        let file = write(&Configuration::default());
        let (_, example) = file.split_once("For instance:\n").expect("an example");
        let (example, rest) = example.split_once("# Who may do how much").expect("quotas");
        let (_, exports) =
            rest.split_once("# What tenants show each other").expect("the next rules");
        let assignments = without_marks(example);
        assert_eq!(assignments.len(), RULE.len(), "every key is there");
        let configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        let filter = TopicFilter::new("telemetry/#").expect("a filter");
        let expected = [DurabilityRule { filter, level: Durability::Os }];
        assert_eq!(configuration.broker.durability_rules, expected);

        let (_, example) = exports.split_once("For instance:\n").expect("an example");
        let (example, _) = example.split_once("# How clients are known").expect("sections");
        let assignments = without_marks(example);
        assert_eq!(assignments.len(), EXPORT.len(), "every key is there");
        let configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        let drafts: Vec<ExportDraft> =
            configuration.broker.tenants.exports.iter().map(ExportDraft::from).collect();
        assert_eq!(drafts, [example_export()]);
    }

    #[test]
    fn the_quotas_in_their_comments_work_without_the_comment_marks() {
        let file = write(&Configuration::default());
        let (_, example) = file.split_once("# Who may do how much").expect("quotas");
        let (_, example) = example.split_once("For instance:\n").expect("an example");
        let (example, _) = example.split_once("# What tenants show each other").expect("sections");
        let assignments = without_marks(example);
        assert_eq!(assignments.len(), QUOTA.len(), "every key is there");
        let configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        assert_eq!(
            Some(configuration.broker.quotas),
            QuotaDraft::example().finish().map(|it| vec![it])
        );
    }

    #[test]
    fn the_authentication_in_its_comments_works_without_the_comment_marks() {
        let file = write(&Configuration::default());
        let (_, example) = file.split_once("# How clients are known").expect("sections");
        let (_, example) = example.split_once("For instance:\n").expect("an example");
        let (example, _) = example.split_once("# Where clients connect").expect("listeners");
        let assignments = without_marks(example);
        let configuration = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        assert_eq!(configuration.auth, [example_auth()]);
    }

    #[test]
    fn a_file_with_rules_and_listeners_reads_back() {
        let mut configuration = Configuration::default();
        configuration.auth.push(example_auth());
        for (filter, level) in [("a \"b\"/#", Durability::Os), ("#", Durability::Memory)] {
            let filter = TopicFilter::new(filter).expect("a filter");
            configuration.broker.durability_rules.push(DurabilityRule { filter, level });
        }
        configuration.broker.quotas.extend(QuotaDraft::example().finish());
        for below in [None, TopicName::new("x/y").ok()] {
            let filter = TopicFilter::new("public/#").expect("a filter");
            let mut rule = TenantExport::new("one", filter, "t, \"2\"");
            rule.below = below;
            configuration.broker.tenants.exports.push(rule);
        }
        configuration.broker.listeners.push(ListenerConfig::new(
            "one",
            "127.0.0.1:7".parse::<Endpoint>().expect("an address"),
        ));
        let mut two =
            ListenerConfig::new("two", "[::1]:8".parse::<Endpoint>().expect("an address"));
        two.authentication = Some(vec!["file".to_owned()]);
        configuration.broker.listeners.push(two);
        let assignments = parse("x", &write(&configuration)).expect("it parses");
        let again = assemble(Sources { assignments, ..Sources::default() })
            .expect("it is legal")
            .configuration;
        assert_eq!(again, configuration);
    }

    #[test]
    fn values_keep_their_lines() {
        let text = "# a comment\ndata_dir = '/var/lib/dunlin'\n\n[limits]\nqueue_bytes_max = \"1 MiB\"\n\
                    receive_maximum = 0x10\n[listeners.lan]\nversions = [\"3.1.1\",\n\"5.0\"]\naddress = '[::]:1'\n";
        let assignments = parse("dunlin.toml", text).expect("it parses");
        let lines: Vec<String> = assignments
            .iter()
            .map(|each| format!("{} {} = {}", each.origin, each.path, each.value))
            .collect();
        assert_eq!(
            lines,
            [
                "dunlin.toml:2 data_dir = /var/lib/dunlin",
                "dunlin.toml:5 limits.queue_bytes_max = 1 MiB",
                "dunlin.toml:6 limits.receive_maximum = 16",
                "dunlin.toml:8 listeners.lan.versions = 3.1.1, 5.0",
                "dunlin.toml:10 listeners.lan.address = [::]:1",
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        let [problem] = &problems("[limits]\nqueue_bytes_max = = 3\n")[..] else {
            panic!("one problem")
        };
        assert!(problem.starts_with("dunlin.toml:2: "), "{problem}");
        let [problem] = &problems("[limits]\nqueue_qos0 = true\nqueue_qos0 = true\n")[..] else {
            panic!("one problem")
        };
        assert!(problem.starts_with("dunlin.toml:3: duplicate key"), "{problem}");
    }

    #[test]
    fn rules_keep_their_lines_and_their_order() {
        let text = "[[durability]]\nlevel = 'os'\nfilter = 'b/#'\n\n[store]\nbackend = 'disk'\n\
                    [[durability]]\nfilter = 'a'\nlevel = 'fsync'\n";
        let lines: Vec<String> = parse("dunlin.toml", text)
            .expect("it parses")
            .iter()
            .map(|each| format!("{} {} = {}", each.origin, each.path, each.value))
            .collect();
        assert_eq!(
            lines,
            [
                "dunlin.toml:2 durability.1.level = os",
                "dunlin.toml:3 durability.1.filter = b/#",
                "dunlin.toml:6 store.backend = disk",
                "dunlin.toml:8 durability.2.filter = a",
                "dunlin.toml:9 durability.2.level = fsync",
            ]
        );
    }

    #[test]
    fn tables_in_the_wrong_place() {
        assert_eq!(
            problems("[durability]\nlevel = 'os'\n"),
            [
                "dunlin.toml:1: a rule has double brackets, [[durability]], since there may be several"
            ]
        );
        assert_eq!(
            problems("[[durability]]\n"),
            ["dunlin.toml:1: a rule [[durability]] without a `filter` and a `level`"]
        );
        assert_eq!(
            problems("[tenants]\n[tenants.exports]\nfrom = 'a'\n"),
            [
                "dunlin.toml:2: a rule has double brackets, [[tenants.exports]], since there may be several"
            ]
        );
        assert_eq!(
            problems("[[tenants.exports]]\n"),
            ["dunlin.toml:1: a rule [[tenants.exports]] without a `from`, a `filter` and a `to`"]
        );
        assert_eq!(
            problems("[limits.overflow]\nx = 1\n"),
            ["dunlin.toml:1: `limits.overflow` must be a value, not a table"]
        );
        assert_eq!(problems("[lisseners]\n"), ["dunlin.toml:1: unknown section [lisseners]"]);
        assert_eq!(
            problems("[listeners.lan]\n"),
            ["dunlin.toml:1: [listeners.lan] says no `address`"]
        );
    }
}
