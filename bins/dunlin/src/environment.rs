//! Environment variables: `DUNLIN_LIMITS_OVERFLOW=drop_oldest` is `overflow = "drop_oldest"` in `[limits]`.

use std::ffi::OsString;

use dunlin_access::nearest;

use crate::configuration::{Assignment, Listen};
use crate::problem::{Origin, Problem};
use crate::settings::{AUTH, KINDS, KindSettings, LISTENER, SECTIONS};

const PREFIX: &str = "DUNLIN_";

/// The variables that stand for an option of the command line.
const OPTIONS: [&str; 4] = ["CONFIG", "LISTEN", "LOG", "ALLOW_ANONYMOUS"];

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) config: Option<OsString>,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) allow_anonymous: Option<Origin>,
    /// Variables that look like ours and are not. Others may have set them, so they do not stop the start.
    pub(crate) warnings: Vec<Problem>,
    pub(crate) problems: Vec<Problem>,
}

impl Environment {
    /// Reads the variables that begin with `DUNLIN_`.
    pub(crate) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        let mut ours: Vec<(String, OsString)> = variables
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?.strip_prefix(PREFIX)?.to_owned(), value))
            })
            .collect();
        ours.sort(); // The same problems in the same order each time.
        for (name, value) in ours {
            environment.variable(&name, value);
        }
        environment
    }

    fn variable(&mut self, name: &str, value: OsString) {
        let origin = Origin::Variable(format!("{PREFIX}{name}"));
        if name == "CONFIG" {
            self.config = Some(value);
            return;
        }
        let path = path_of(name);
        if path.is_none() && !OPTIONS.contains(&name) {
            return self.unknown(name, origin);
        }
        let Ok(value) = value.into_string() else {
            return self.problems.push(Problem::new(origin, "is not UTF-8 text"));
        };
        match (name, path) {
            ("LISTEN", _) => self.listen = listen(&value, &origin),
            ("ALLOW_ANONYMOUS", _) => self.allow_anonymous(&value, origin),
            ("LOG", _) => {
                self.assignments.push(Assignment { path: "log.level".to_owned(), value, origin })
            }
            (_, Some(path)) => self.assignments.push(Assignment { path, value, origin }),
            (_, None) => {}
        }
    }

    fn allow_anonymous(&mut self, value: &str, origin: Origin) {
        match value {
            "true" => self.allow_anonymous = Some(origin),
            "false" => self.allow_anonymous = None,
            _ => self
                .problems
                .push(Problem::new(origin, format!("must be true or false, not `{value}`"))),
        }
    }

    fn unknown(&mut self, name: &str, origin: Origin) {
        // Kubernetes sets these for each service, and a service may well be called `dunlin`.
        let is_service = ["PORT", "SERVICE_HOST", "SERVICE_PORT"].contains(&name)
            || name.starts_with("PORT_")
            || name.starts_with("SERVICE_PORT_");
        if is_service {
            return;
        }
        let known: Vec<String> = OPTIONS
            .into_iter()
            .map(str::to_owned)
            .chain(global_names().map(|(name, _)| name))
            .collect();
        let near = nearest(name, known.iter().map(String::as_str));
        let advice = near.map(|near| format!(": did you mean {PREFIX}{near}?")).unwrap_or_default();
        self.warnings.push(Problem::new(origin, format!("unknown variable, ignored{advice}")));
    }
}

fn listen(value: &str, origin: &Origin) -> Vec<Listen> {
    let addresses = value.split(',').map(str::trim).filter(|address| !address.is_empty());
    addresses
        .map(|address| Listen { address: address.to_owned(), origin: origin.clone() })
        .collect()
}

/// The setting that a variable without its prefix names.
fn path_of(name: &str) -> Option<String> {
    if let Some((_, path)) = global_names().find(|(known, _)| known == name) {
        return Some(path);
    }
    // Both names and keys may hold `_`: the longest key that fits is meant.
    if let Some(rest) = name.strip_prefix("LISTENERS_") {
        return named_path("listeners", rest, LISTENER.iter().map(|setting| setting.key));
    }
    let of_kinds = KINDS.iter().flat_map(KindSettings::all);
    let keys = AUTH.iter().chain(of_kinds).map(|setting| setting.key);
    named_path("auth", name.strip_prefix("AUTH_")?, keys)
}

/// The setting of a section with a name, `listeners.NAME.KEY`, where `rest` is `NAME_KEY`.
fn named_path(
    sections: &str,
    rest: &str,
    keys: impl Iterator<Item = &'static str>,
) -> Option<String> {
    let fits = keys.filter_map(|key| {
        let name = rest.strip_suffix(&key.to_uppercase())?.strip_suffix('_')?;
        Some((name, key))
    });
    let (name, key) = fits.max_by_key(|(_, key)| key.len())?;
    Some(format!("{sections}.{}.{key}", name.to_lowercase()))
}

/// Every setting outside the listeners: its variable without the prefix, and its path.
fn global_names() -> impl Iterator<Item = (String, String)> {
    SECTIONS.iter().flat_map(|section| {
        section.settings.iter().map(|setting| {
            let path = section.path(setting.key);
            (path.replace('.', "_").to_uppercase(), path)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(variables.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn variables_name_settings() {
        let environment = read(&[
            ("HOME", "/root"),
            ("DUNLIN_LIMITS_QUEUE_BYTES_MAX", "1 MiB"),
            ("DUNLIN_DATA_DIR", "/data"),
            ("DUNLIN_LOG", "debug"),
            ("DUNLIN_SYS_PUBLISH_3X", "close"),
            ("DUNLIN_LISTENERS_LAN_ADDRESS", "0.0.0.0:1883"),
            ("DUNLIN_LISTENERS_MY_LAN_SHARED_SUBSCRIPTION_AVAILABLE", "false"),
        ]);
        let found: Vec<String> = environment
            .assignments
            .iter()
            .map(|each| format!("{} = {}", each.path, each.value))
            .collect();
        assert_eq!(
            found,
            [
                "data_dir = /data",
                "limits.queue_bytes_max = 1 MiB",
                "listeners.lan.address = 0.0.0.0:1883",
                "listeners.my_lan.shared_subscription_available = false",
                "log.level = debug",
                "sys.publish_3x = close",
            ]
        );
        assert_eq!(environment.warnings, []);
        assert_eq!(environment.problems, []);
    }

    #[test]
    fn variables_stand_for_options() {
        let environment = read(&[
            ("DUNLIN_LISTEN", "127.0.0.1:1, [::1]:2"),
            ("DUNLIN_ALLOW_ANONYMOUS", "true"),
            ("DUNLIN_CONFIG", "x"),
        ]);
        let addresses: Vec<&str> =
            environment.listen.iter().map(|listen| listen.address.as_str()).collect();
        assert_eq!(addresses, ["127.0.0.1:1", "[::1]:2"]);
        assert!(environment.allow_anonymous.is_some());
        assert_eq!(environment.config, Some("x".into()));
        assert_eq!(read(&[("DUNLIN_ALLOW_ANONYMOUS", "yes")]).problems.len(), 1);
    }

    #[test]
    fn an_unknown_variable_is_a_warning_and_a_kubernetes_one_is_not() {
        let environment = read(&[
            ("DUNLIN_LIMITS_OVERFLOV", "x"),
            ("DUNLIN_PORT_1883_TCP_ADDR", "10.0.0.1"),
            ("DUNLIN_SERVICE_HOST", "10.0.0.1"),
        ]);
        let warnings: Vec<String> = environment.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "DUNLIN_LIMITS_OVERFLOV: unknown variable, ignored: did you mean DUNLIN_LIMITS_OVERFLOW?"
            ]
        );
    }
}
