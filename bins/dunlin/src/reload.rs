//! Another configuration for the running program: what would change, in words, and the change.

use std::fmt::Write as _;
use std::path::PathBuf;

use dunlin_broker::audit::ADMIN_TARGET;
use dunlin_broker::config::{Applies, applies};
use dunlin_broker::{
    AboveLimit, Broker, Clients, LimitExceeded, ListenerChange, ListenerConfig, ReloadReport,
    ServerError,
};

use crate::args::Arguments;
use crate::audit_file::Opened;
use crate::authentication::Authentication;
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::rules;
use crate::settings::{LISTENER, SECTIONS};
use crate::sources::{self, Candidate, Loaded, Look};
use crate::telemetry::{self, LogHandle};

/// Clients that one line names.
const NAMED_MAX: usize = 20;

/// When a change of this setting takes effect: one of the program's own, or one of the library.
pub(crate) fn effect(setting: &str) -> Option<Applies> {
    match setting {
        "access.file"
        | "audit.file"
        | "log.level"
        | "reload.watch"
        | "reload.watch_interval"
        | "reload.enforce_limits" => Some(Applies::Live),
        "data_dir"
        | "store.backend"
        | "store.sync_interval"
        | "store.max_bytes"
        | "store.ballast_bytes"
        | "log.format"
        | "runtime.worker_threads" => Some(Applies::Restart),
        _ if ["auth.", "logins."].iter().any(|section| setting.starts_with(section)) => {
            Some(Applies::NewConnections)
        }
        _ => applies(setting),
    }
}

/// The configuration that the program runs with, and how it gets another one.
pub(crate) struct Reloader {
    arguments: Arguments,
    present: Configuration,
    authentication: Authentication,
    log: LogHandle,
    /// The file, and how it looked when it was taken.
    watched: Option<(PathBuf, Look)>,
    /// How it looked when it was found to have changed: taken when it stays like that.
    changed: Option<Look>,
}

impl Reloader {
    pub(crate) fn new(
        arguments: Arguments,
        present: Configuration,
        authentication: Authentication,
        log: LogHandle,
    ) -> Self {
        let watched = sources::path(&arguments).map(|path| {
            let look = Look::at(&path);
            (path, look)
        });
        Self { arguments, present, authentication, log, watched, changed: None }
    }

    pub(crate) const fn present(&self) -> &Configuration {
        &self.present
    }

    /// Whether the file has changed and is written to no more. To be asked once in each interval.
    pub(crate) fn has_changed(&mut self) -> bool {
        let Some((path, taken)) = &self.watched else { return false };
        let look = Look::at(path);
        if look == *taken {
            self.changed = None;
            return false;
        }
        let settled = self.changed.as_ref() == Some(&look);
        self.changed = Some(look);
        settled
    }

    /// What a reload would do, in words; with other content in the place of the file, if there is some.
    pub(crate) fn plan(
        &self,
        broker: &Broker,
        candidate: Option<&Candidate>,
    ) -> Result<String, Failure> {
        let loaded = match candidate {
            Some(candidate) => sources::load_candidate(&self.arguments, candidate)?,
            None => sources::load(&self.arguments)?,
        };
        let wanted = loaded.assembled.configuration;
        let rules = rules::read(&wanted)?;
        let authenticators = self.authentication.renewed(&wanted)?.authenticators();
        let planned = broker.plan_with(&wanted.broker, &authenticators);
        let report = planned.map_err(|error| refused(&error))?;
        Ok(describe(&self.present, &wanted, &report, *broker.rules() != rules))
    }

    /// Goes on with the file of security events under its name, in case that somebody has moved it away.
    pub(crate) fn reopen_audit_file(&self) {
        let Some(path) = &self.present.audit.file else { return };
        match Opened::at(path) {
            Ok(opened) => self.log.reopen(opened),
            Err(error) => tracing::error!(
                event = "audit_not_reopened", file = %path.display(), %error,
                "the file that was open is written on"
            ),
        }
    }

    /// Takes the configuration as it stands now. What it cannot take changes nothing.
    pub(crate) async fn reload(&mut self, broker: &Broker) -> Result<(), Failure> {
        if let Some((path, look)) = &mut self.watched {
            *look = Look::at(path);
            self.changed = None;
        }
        let Loaded { assembled, .. } = sources::load(&self.arguments)?;
        let mut wanted = assembled.configuration;
        // All that can fail comes first.
        let rules = rules::read(&wanted)?;
        let authentication = self.authentication.renewed(&wanted)?;
        let audit_file = self.other_audit_file(&wanted)?;
        let above =
            if wanted.reload.enforce_limits { AboveLimit::Enforce } else { AboveLimit::Keep };
        let authenticators = authentication.authenticators();
        let reloaded = broker.reload_with(wanted.broker.clone(), above, authenticators).await;
        let report = reloaded.map_err(|error| refused(&error))?;
        authentication.begin(&self.authentication);
        self.authentication = authentication;
        let other_rules = *broker.rules() != rules;
        if other_rules {
            let count = rules.rules().len();
            broker.set_rules(rules).await;
            tracing::info!(
                target: ADMIN_TARGET, event = "rules_changed", rules = count,
                "other rules are in force"
            );
        }
        let settings = changed_settings(&self.present, &wanted);
        let sections = changed_sections(&self.present, &wanted);
        settings.iter().for_each(|(setting, _, _)| log_changed(setting));
        for (section, change) in &sections {
            tracing::info!(
                event = "setting_changed", setting = %format_args!("auth.{section}"), change,
                "the section holds for logins from now on"
            );
        }
        self.log.change(&wanted.log, audit_file, wanted.audit.file.is_some());
        // What needs a restart stays as it was, so that the next reload names it again.
        let Configuration { data_dir, store, runtime, log, .. } = self.present.clone();
        wanted.broker.clone_from(&broker.config());
        wanted.log.format = log.format;
        self.present = Configuration { data_dir, store, runtime, ..wanted };
        tracing::info!(
            target: ADMIN_TARGET, event = "reloaded", settings = settings.len(),
            listeners = report.listeners.len(), auth_sections = sections.len(), rules = other_rules,
            "the configuration is in use"
        );
        Ok(())
    }

    /// The file of security events, if it is to be another one than now.
    fn other_audit_file(&self, wanted: &Configuration) -> Result<Option<Opened>, Failure> {
        let Some(path) = &wanted.audit.file else { return Ok(None) };
        if self.present.audit.file.as_ref() == Some(path) {
            return Ok(None);
        }
        Opened::at(path).map(Some).map_err(|error| telemetry::audit_failure(path, &error))
    }
}

/// Says that a setting of the program's own has changed; of the broker's the library has said so.
fn log_changed(setting: &str) {
    if applies(setting).is_some() {
        return;
    }
    match effect(setting) {
        Some(Applies::Restart) => tracing::warn!(
            event = "setting_needs_restart", %setting,
            "the setting cannot change while the broker runs: it takes effect at the next start"
        ),
        Some(Applies::NewConnections) => tracing::info!(
            event = "setting_changed", %setting,
            "the setting has changed: it holds for logins from now on"
        ),
        Some(Applies::Live) | None => {
            tracing::info!(event = "setting_changed", %setting, "the setting has changed");
        }
    }
}

/// Each section `[auth.NAME]` that differs, with what became of it.
fn changed_sections(
    present: &Configuration,
    wanted: &Configuration,
) -> Vec<(String, &'static str)> {
    let find = |all: &Configuration, name: &str| {
        all.auth.iter().find(|section| section.name == name).cloned()
    };
    let gone = present.auth.iter().filter(|section| find(wanted, &section.name).is_none());
    let gone = gone.map(|section| (section.name.clone(), "removed"));
    let others = wanted.auth.iter().filter_map(|section| match find(present, &section.name) {
        None => Some((section.name.clone(), "added")),
        Some(old) if old != *section => Some((section.name.clone(), "changed")),
        Some(_) => None,
    });
    let changed: Vec<_> = gone.chain(others).collect();
    let names = |all: &Configuration| -> Vec<String> {
        all.auth.iter().map(|section| section.name.clone()).collect()
    };
    if changed.is_empty() && names(present) != names(wanted) {
        return names(wanted).into_iter().map(|name| (name, "in another order")).collect();
    }
    changed
}

fn refused(error: &ServerError) -> Failure {
    crate::run::start_failure(error)
}

/// Each setting outside the listeners that differs, with both values.
fn changed_settings(
    present: &Configuration,
    wanted: &Configuration,
) -> Vec<(String, String, String)> {
    let all = SECTIONS.iter().flat_map(|section| {
        section.settings.iter().map(move |setting| (section.path(setting.key), setting.write))
    });
    let both = all.map(|(path, write)| (path, write(present), write(wanted)));
    both.filter(|(_, old, new)| old != new).collect()
}

/// What a reload does, a line for each thing.
fn describe(
    present: &Configuration,
    wanted: &Configuration,
    report: &ReloadReport,
    other_rules: bool,
) -> String {
    let mut out = String::new();
    for (setting, old, new) in changed_settings(present, wanted) {
        let _ = writeln!(out, "{setting}: {old} -> {new} ({})", words(effect(&setting)));
    }
    let (old, new) = (&present.broker, &wanted.broker);
    let durability = (&old.durability_rules, &new.durability_rules);
    let exports = (&old.tenants.exports, &new.tenants.exports);
    for (name, differs, old, new) in [
        ("durability", durability.0 != durability.1, durability.0.len(), durability.1.len()),
        ("tenants.exports", exports.0 != exports.1, exports.0.len(), exports.1.len()),
    ] {
        if differs {
            let effect = words(effect(name));
            let _ = writeln!(out, "[[{name}]]: {old} rules -> {new} rules ({effect})");
        }
    }
    let (old, new) = (&present.broker.quotas, &wanted.broker.quotas);
    if old != new {
        let effect = words(effect("quotas"));
        let _ = writeln!(out, "[[quotas]]: {} rules -> {} rules ({effect})", old.len(), new.len());
    }
    for (section, change) in changed_sections(present, wanted) {
        let _ = writeln!(out, "[auth.{section}]: {change} ({})", words(effect("auth.")));
    }
    if other_rules {
        let effect = words(effect("access.file"));
        let _ = writeln!(out, "the rules of access.file: other ones ({effect})");
    }
    for changed in &report.listeners {
        let find = |configuration: &Configuration| {
            let mut all = configuration.broker.listeners.iter();
            all.find(|listener| listener.name == changed.name).cloned()
        };
        let (old, new) = (find(present), find(wanted));
        match &changed.change {
            ListenerChange::Added => {
                let address = new.map(|new| new.address.to_string()).unwrap_or_default();
                let _ = writeln!(out, "listener {} opens on {address}", changed.name);
            }
            ListenerChange::Removed => {
                let _ = writeln!(
                    out,
                    "listener {} closes, with {} connections; disconnected: {}",
                    changed.name,
                    changed.connections,
                    names(&changed.disconnected)
                );
            }
            ListenerChange::Changed(settings) => {
                for each in settings {
                    let key = each.setting.rsplit('.').next().unwrap_or_default();
                    let values = value(old.as_ref(), key).zip(value(new.as_ref(), key));
                    let (old, new) = values.unwrap_or_default();
                    let effect = words(Some(each.applies));
                    let _ = writeln!(out, "{}: {old} -> {new} ({effect})", each.setting);
                }
            }
            _ => {}
        }
    }
    for above in &report.above {
        let _ = writeln!(out, "{}", above_limit(above, wanted.reload.enforce_limits));
    }
    if out.is_empty() {
        out.push_str("nothing would change\n");
    }
    out
}

fn value(listener: Option<&ListenerConfig>, key: &str) -> Option<String> {
    let setting = LISTENER.iter().find(|setting| setting.key == key)?;
    listener.map(setting.write)
}

fn above_limit(above: &LimitExceeded, enforced: bool) -> String {
    let LimitExceeded { setting, limit, found, clients, .. } = above;
    let whom = if clients.count > 0 {
        format!(", in {} sessions: {}", clients.count, names(clients))
    } else {
        String::new()
    };
    let can_be = ["connections_max", "queue_messages_max", "queue_bytes_max"];
    let what = if enforced && can_be.iter().any(|key| setting.ends_with(key)) {
        "what is above it is closed or dropped"
    } else {
        "what is above it stays"
    };
    format!("{setting}: {limit} is less than the {found} there are{whom}; {what}")
}

fn names(clients: &Clients) -> String {
    if clients.count == 0 {
        return "nobody".to_owned();
    }
    let named: Vec<String> =
        clients.names.iter().take(NAMED_MAX).map(|name| format!("{name:?}")).collect();
    let rest = clients.count - named.len() as u64;
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

const fn words(effect: Option<Applies>) -> &'static str {
    match effect {
        Some(Applies::NewConnections) => "for connections that begin afterwards",
        Some(Applies::Restart) => "needs a restart, and stays as it is until then",
        Some(Applies::Live) | None => "at once",
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::RULE;

    use super::*;

    #[test]
    fn every_setting_says_when_it_takes_effect() {
        for section in SECTIONS {
            for setting in section.settings {
                let path = section.path(setting.key);
                assert!(effect(&path).is_some(), "{path}");
            }
        }
        for setting in LISTENER {
            assert!(effect(&format!("listeners.x.{}", setting.key)).is_some(), "{}", setting.key);
        }
        assert!(!RULE.is_empty() && effect("durability").is_some());
    }

    #[test]
    fn each_change_is_a_line_with_both_values() {
        let present = Configuration::default();
        let mut wanted = Configuration::default();
        assert_eq!(
            describe(&present, &wanted, &ReloadReport::default(), false),
            "nothing would change\n"
        );
        wanted.log.level = "debug".to_owned();
        wanted.runtime.worker_threads = Some(3);
        wanted.broker.limits.receive_maximum = 7;
        assert_eq!(
            describe(&present, &wanted, &ReloadReport::default(), false),
            "log.level: \"info\" -> \"debug\" (at once)\n\
             runtime.worker_threads: \"auto\" -> 3 (needs a restart, and stays as it is until then)\n\
             limits.receive_maximum: 1000 -> 7 (for connections that begin afterwards)\n"
        );
    }
}
