//! Another configuration for the running program: what would change, in words, and the change.

use std::fmt::Write as _;
use std::path::PathBuf;

use dunlin_broker::config::{Applies, applies};
use dunlin_broker::{
    AboveLimit, Broker, Clients, LimitExceeded, ListenerChange, ListenerConfig, ReloadReport,
    ServerError,
};

use crate::args::Arguments;
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::rules;
use crate::settings::{LISTENER, SECTIONS};
use crate::sources::{self, Candidate, Loaded, Look};
use crate::telemetry::LogHandle;

/// Clients that one line names.
const NAMED_MAX: usize = 20;

/// When a change of this setting takes effect: one of the program's own, or one of the library.
pub(crate) fn effect(setting: &str) -> Option<Applies> {
    match setting {
        "access.file"
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
        _ if ["auth.", "logins.", "audit."].iter().any(|section| setting.starts_with(section)) => {
            Some(Applies::Restart)
        }
        _ => applies(setting),
    }
}

/// The configuration that the program runs with, and how it gets another one.
#[derive(Debug)]
pub(crate) struct Reloader {
    arguments: Arguments,
    present: Configuration,
    log: LogHandle,
    /// The file, and how it looked when it was taken.
    watched: Option<(PathBuf, Look)>,
    /// How it looked when it was found to have changed: taken when it stays like that.
    changed: Option<Look>,
}

impl Reloader {
    pub(crate) fn new(arguments: Arguments, present: Configuration, log: LogHandle) -> Self {
        let watched = sources::path(&arguments).map(|path| {
            let look = Look::at(&path);
            (path, look)
        });
        Self { arguments, present, log, watched, changed: None }
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
        // They are not compared, but have to be good.
        rules::read(&wanted)?;
        let report = broker.plan(&wanted.broker).map_err(|error| refused(&error))?;
        Ok(describe(&self.present, &wanted, &report))
    }

    /// Takes the configuration as it stands now. What it cannot take changes nothing.
    pub(crate) async fn reload(&mut self, broker: &Broker) -> Result<(), Failure> {
        if let Some((path, look)) = &mut self.watched {
            *look = Look::at(path);
            self.changed = None;
        }
        let Loaded { assembled, .. } = sources::load(&self.arguments)?;
        let mut wanted = assembled.configuration;
        let rules = rules::read(&wanted)?;
        let above =
            if wanted.reload.enforce_limits { AboveLimit::Enforce } else { AboveLimit::Keep };
        broker.reload(wanted.broker.clone(), above).await.map_err(|error| refused(&error))?;
        broker.set_rules(rules).await;
        for (setting, _, _) in changed_settings(&self.present, &wanted) {
            // The library has said so of its own.
            if applies(&setting).is_some() {
                continue;
            }
            if effect(&setting) == Some(Applies::Restart) {
                tracing::warn!(
                    event = "setting_needs_restart", %setting,
                    "the setting cannot change while the broker runs: it takes effect at the next start"
                );
            } else {
                tracing::info!(event = "setting_changed", %setting, "the setting has changed");
            }
        }
        if self.present.auth != wanted.auth {
            tracing::warn!(
                event = "setting_needs_restart",
                setting = "auth",
                "the sections [auth.NAME] cannot change while the broker runs: they take effect at the next start"
            );
        }
        self.log.set_level(&wanted.log.level);
        // What needs a restart stays as it was, so that the next reload names it again.
        let Configuration { data_dir, store, runtime, log, auth, logins, audit, .. } =
            self.present.clone();
        wanted.broker.clone_from(&broker.config());
        wanted.log.format = log.format;
        self.present = Configuration { data_dir, store, runtime, auth, logins, audit, ..wanted };
        Ok(())
    }
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
fn describe(present: &Configuration, wanted: &Configuration, report: &ReloadReport) -> String {
    let mut out = String::new();
    for (setting, old, new) in changed_settings(present, wanted) {
        let _ = writeln!(out, "{setting}: {old} -> {new} ({})", words(effect(&setting)));
    }
    let (old, new) = (&present.broker.durability_rules, &wanted.broker.durability_rules);
    if old != new {
        let _ = writeln!(
            out,
            "[[durability]]: {} rules -> {} rules ({})",
            old.len(),
            new.len(),
            words(effect("durability"))
        );
    }
    let (old, new) = (&present.broker.quotas, &wanted.broker.quotas);
    if old != new {
        let effect = words(effect("quotas"));
        let _ = writeln!(out, "[[quotas]]: {} rules -> {} rules ({effect})", old.len(), new.len());
    }
    if present.auth != wanted.auth {
        let _ = writeln!(out, "[auth]: other sections ({})", words(effect("auth.")));
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
        assert_eq!(describe(&present, &wanted, &ReloadReport::default()), "nothing would change\n");
        wanted.log.level = "debug".to_owned();
        wanted.runtime.worker_threads = Some(3);
        wanted.broker.limits.receive_maximum = 7;
        assert_eq!(
            describe(&present, &wanted, &ReloadReport::default()),
            "log.level: \"info\" -> \"debug\" (at once)\n\
             runtime.worker_threads: \"auto\" -> 3 (needs a restart, and stays as it is until then)\n\
             limits.receive_maximum: 1000 -> 7 (for connections that begin afterwards)\n"
        );
    }
}
