//! How values are written, in the file and in the environment alike: `"16 MiB"`, `"10s"`, `"none"`.
//!
//! Every value is read from its text, so that a file's `true` and a variable's `true` are the same thing. Writing gives
//! TOML, and reading what was written gives the same value.

use std::fmt::Display;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dunlin_auth::lookup::UnknownUser;
use dunlin_auth::{OnFailure, PeerField, SecretSource};
use dunlin_broker::config::{
    AcceptedVersions, AllowedOrigins, ClientCertificates, Durability, Endpoint, IpRange, Origin,
    Overflow, Protocol, StoreFull, SysPublish, TlsVersion, TopicFilter,
};
use dunlin_broker::{ForeignSessions, NoTenant, Qos, TenantRule, TopicName};

use crate::authentication::AuthKind;
use crate::configuration::Backend;
use crate::telemetry;

/// One way to write a `T`.
pub(crate) trait Notation<T> {
    /// The value in TOML.
    fn write(value: &T) -> String;
    /// The value of `text`, which is a TOML string's content or any other TOML value as it stands.
    fn read(text: &str) -> Option<T>;
    /// What `read` takes, as the end of "must be ...".
    fn expected() -> String;
}

/// `true` or `false`.
pub(crate) struct Switch;

impl Notation<bool> for Switch {
    fn write(value: &bool) -> String {
        value.to_string()
    }

    fn read(text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn expected() -> String {
        "true or false".to_owned()
    }
}

/// A whole number, `1000` or `1_000`.
pub(crate) struct Count;

impl<T: Number> Notation<T> for Count {
    fn write(value: &T) -> String {
        value.to_string()
    }

    fn read(text: &str) -> Option<T> {
        text.replace('_', "").parse().ok()
    }

    fn expected() -> String {
        format!("a whole number from 0 to {}", T::LARGEST)
    }
}

/// The unsigned integers that settings are made of.
pub(crate) trait Number: Copy + Display + FromStr + TryFrom<u64> {
    const LARGEST: u64;
    fn wide(self) -> u64;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            const LARGEST: u64 = <$number>::MAX as u64;

            fn wide(self) -> u64 {
                self as u64
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

/// Bytes: `65536`, `"64 KiB"`, `"16 MiB"`.
pub(crate) struct Size;

const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<T: Number> Notation<T> for Size {
    fn write(value: &T) -> String {
        let bytes = value.wide();
        let whole = SIZE_UNITS
            .into_iter()
            .find(|&(_, unit)| unit > 1 && bytes >= unit && bytes.is_multiple_of(unit));
        match whole {
            Some((name, unit)) => format!("\"{} {name}\"", bytes / unit),
            None => bytes.to_string(),
        }
    }

    fn read(text: &str) -> Option<T> {
        let (count, unit) = split_unit(text);
        let unit = match unit {
            "" => 1,
            _ => SIZE_UNITS.into_iter().find(|&(name, _)| name == unit)?.1,
        };
        T::try_from(count?.checked_mul(unit)?).ok()
    }

    fn expected() -> String {
        format!("bytes such as 65536, \"64 KiB\" or \"16 MiB\", at most {}", T::LARGEST)
    }
}

/// A span of time: `"500ms"`, `"10s"`, `"5min"`, `"2h"`, `"7d"`.
pub(crate) struct Time;

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

impl Notation<Duration> for Time {
    fn write(value: &Duration) -> String {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        let whole =
            TIME_UNITS.into_iter().find(|&(_, unit)| millis >= unit && millis.is_multiple_of(unit));
        let (name, unit) = whole.unwrap_or(("s", 1_000));
        format!("\"{}{name}\"", millis / unit)
    }

    fn read(text: &str) -> Option<Duration> {
        let (count, unit) = split_unit(text);
        let unit = TIME_UNITS.into_iter().find(|&(name, _)| name == unit)?.1;
        Some(Duration::from_millis(count?.checked_mul(unit)?))
    }

    fn expected() -> String {
        "a time such as \"500ms\", \"10s\", \"5min\", \"2h\" or \"7d\"".to_owned()
    }
}

/// A span of whole seconds that fits the two bytes of a Keep Alive.
pub(crate) struct KeepAlive;

impl Notation<u16> for KeepAlive {
    fn write(value: &u16) -> String {
        Time::write(&Duration::from_secs(u64::from(*value)))
    }

    fn read(text: &str) -> Option<u16> {
        let time = Time::read(text)?;
        (time.subsec_millis() == 0).then_some(u16::try_from(time.as_secs()).ok()?)
    }

    fn expected() -> String {
        "whole seconds such as \"90s\" or \"5min\", at most \"65535s\"".to_owned()
    }
}

fn split_unit(text: &str) -> (Option<u64>, &str) {
    let end =
        text.find(|letter: char| !letter.is_ascii_digit() && letter != '_').unwrap_or(text.len());
    let (count, unit) = text.split_at(end);
    (Count::read(count), unit.trim())
}

/// A value, or the word that stands for having none.
pub(crate) struct OrNone<N>(PhantomData<N>);

/// A value, or `"auto"` for the one that the broker works out.
pub(crate) struct OrAuto<N>(PhantomData<N>);

/// A value, or `"all"` for everything that there is.
pub(crate) struct OrAll<N>(PhantomData<N>);

macro_rules! optional {
    ($notation:ident, $word:literal) => {
        impl<T, N: Notation<T>> Notation<Option<T>> for $notation<N> {
            fn write(value: &Option<T>) -> String {
                value.as_ref().map_or_else(|| format!("{:?}", $word), N::write)
            }

            fn read(text: &str) -> Option<Option<T>> {
                if text == $word { Some(None) } else { N::read(text).map(Some) }
            }

            fn expected() -> String {
                format!("{}, or {:?}", N::expected(), $word)
            }
        }
    };
}

optional!(OrNone, "none");
optional!(OrAuto, "auto");
optional!(OrAll, "all");

/// A value that must be said, since nothing stands for having said none.
pub(crate) struct Needed<N>(PhantomData<N>);

impl<T, N: Notation<T>> Notation<Option<T>> for Needed<N> {
    fn write(value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| "\"\"".to_owned(), N::write)
    }

    fn read(text: &str) -> Option<Option<T>> {
        N::read(text).map(Some)
    }

    fn expected() -> String {
        N::expected()
    }
}

/// One of a few words.
pub(crate) struct Word;

/// A type whose values are words.
pub(crate) trait Words: Copy + Eq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Words> Notation<T> for Word {
    fn write(value: &T) -> String {
        let word = T::WORDS.iter().find(|(_, each)| each == value).map_or("", |(word, _)| word);
        format!("{word:?}")
    }

    fn read(text: &str) -> Option<T> {
        T::WORDS.iter().find(|(word, _)| *word == text).map(|&(_, value)| value)
    }

    fn expected() -> String {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("one of {}", words.join(", "))
    }
}

impl Words for Overflow {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("drop_new", Self::DropNew),
        ("drop_oldest", Self::DropOldest),
        ("disconnect", Self::Disconnect),
    ];
}

impl Words for Durability {
    const WORDS: &'static [(&'static str, Self)] =
        &[("fsync", Self::Fsync), ("os", Self::Os), ("memory", Self::Memory)];
}

impl Words for StoreFull {
    const WORDS: &'static [(&'static str, Self)] =
        &[("hold", Self::Hold), ("disconnect", Self::Disconnect)];
}

impl Words for Protocol {
    const WORDS: &'static [(&'static str, Self)] =
        &[("mqtt", Self::Mqtt), ("websocket", Self::WebSocket), ("auto", Self::Auto)];
}

impl Words for ClientCertificates {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
}

impl Words for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

impl Words for Backend {
    const WORDS: &'static [(&'static str, Self)] =
        &[("disk", Self::Disk), ("memory", Self::Memory)];
}

impl Words for ForeignSessions {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("allow", Self::Allow)];
}

impl Words for NoTenant {
    const WORDS: &'static [(&'static str, Self)] =
        &[("default", Self::Default), ("refuse", Self::Refuse)];
}

impl Words for AuthKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("file", Self::File),
        ("peer", Self::Peer),
        ("jwt", Self::Jwt),
        ("http", Self::Http),
        ("postgres", Self::Postgres),
        ("mysql", Self::MySql),
        ("sqlite", Self::Sqlite),
        ("redis", Self::Redis),
        ("ldap", Self::Ldap),
    ];
}

impl Words for PeerField {
    const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
}

impl Words for OnFailure {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("pass_on", Self::PassOn), ("accept", Self::Accept)];
}

impl Words for UnknownUser {
    const WORDS: &'static [(&'static str, Self)] =
        &[("pass_on", Self::PassOn), ("refuse", Self::Refuse)];
}

impl Words for SysPublish {
    const WORDS: &'static [(&'static str, Self)] = &[("drop", Self::Drop), ("close", Self::Close)];
}

impl Words for telemetry::Format {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// Rules that name tenants, in their order.
pub(crate) struct TenantRules;

impl Notation<Vec<TenantRule>> for TenantRules {
    fn write(value: &Vec<TenantRule>) -> String {
        let each = value.iter().map(|rule| format!("{:?}", tenant_rule(rule)));
        format!("[{}]", each.collect::<Vec<_>>().join(", "))
    }

    fn read(text: &str) -> Option<Vec<TenantRule>> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(read_tenant_rule).collect()
    }

    fn expected() -> String {
        "a list of \"identity\", \"attribute NAME\", \"server_name .ENDING\", \"user_name CHARACTER\", \
         \"listener LISTENER=TENANT\" and \"everybody TENANT\""
            .to_owned()
    }
}

fn read_tenant_rule(text: &str) -> Option<TenantRule> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    let said = (!rest.is_empty()).then(|| rest.to_owned());
    match kind {
        "identity" if rest.is_empty() => Some(TenantRule::Identity),
        "attribute" => said.map(TenantRule::Attribute),
        "server_name" => {
            let ending = said.filter(|ending| ending.starts_with('.'))?;
            Some(TenantRule::ServerName { ending: ending.to_ascii_lowercase() })
        }
        "user_name" => {
            let mut characters = rest.chars();
            let separator = characters.next().filter(|_| characters.next().is_none())?;
            Some(TenantRule::UserName { separator })
        }
        "listener" => {
            let (listener, tenant) = rest.split_once('=')?;
            let (listener, tenant) = (listener.trim().to_owned(), tenant.trim().to_owned());
            let named = !listener.is_empty() && !tenant.is_empty();
            named.then_some(TenantRule::Listener { listener, tenant })
        }
        "everybody" => said.map(TenantRule::Everybody),
        _ => None,
    }
}

fn tenant_rule(rule: &TenantRule) -> String {
    match rule {
        TenantRule::Identity => "identity".to_owned(),
        TenantRule::Attribute(name) => format!("attribute {name}"),
        TenantRule::ServerName { ending } => format!("server_name {ending}"),
        TenantRule::UserName { separator } => format!("user_name {separator}"),
        TenantRule::Listener { listener, tenant } => format!("listener {listener}={tenant}"),
        TenantRule::Everybody(tenant) => format!("everybody {tenant}"),
        _ => String::new(),
    }
}

/// A secret, or where it is kept: `${NAME}`, `file:///run/key`, `credential://NAME`. One that stands there itself is not
/// written again.
pub(crate) struct Hidden;

impl Notation<SecretSource> for Hidden {
    fn write(value: &SecretSource) -> String {
        format!("{:?}", value.to_string())
    }

    fn read(text: &str) -> Option<SecretSource> {
        (!text.is_empty()).then(|| SecretSource::parse(text))
    }

    fn expected() -> String {
        "a secret, or \"${NAME}\", \"file:///path\" or \"credential://NAME\"".to_owned()
    }
}

/// `0`, `1` or `2`.
pub(crate) struct QosDigit;

impl Notation<Qos> for QosDigit {
    fn write(value: &Qos) -> String {
        match value {
            Qos::AtMostOnce => "0",
            Qos::AtLeastOnce => "1",
            Qos::ExactlyOnce => "2",
        }
        .to_owned()
    }

    fn read(text: &str) -> Option<Qos> {
        match text {
            "0" => Some(Qos::AtMostOnce),
            "1" => Some(Qos::AtLeastOnce),
            "2" => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }

    fn expected() -> String {
        "0, 1 or 2".to_owned()
    }
}

/// `["file", "others"]`, in a variable `file,others`.
pub(crate) struct NameList;

impl Notation<Vec<String>> for NameList {
    fn write(value: &Vec<String>) -> String {
        let quoted: Vec<String> = value.iter().map(|name| format!("{name:?}")).collect();
        format!("[{}]", quoted.join(", "))
    }

    fn read(text: &str) -> Option<Vec<String>> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(names.map(str::to_owned).collect())
    }

    fn expected() -> String {
        "a list of names".to_owned()
    }
}

/// `["3.1", "3.1.1", "5.0"]`, in a variable `3.1,3.1.1,5.0`.
pub(crate) struct VersionList;

impl Notation<AcceptedVersions> for VersionList {
    fn write(value: &AcceptedVersions) -> String {
        let each = [("3.1", value.v3_1), ("3.1.1", value.v3_1_1), ("5.0", value.v5)];
        let named =
            each.into_iter().filter(|&(_, accepted)| accepted).map(|(name, _)| format!("{name:?}"));
        format!("[{}]", named.collect::<Vec<_>>().join(", "))
    }

    fn read(text: &str) -> Option<AcceptedVersions> {
        let mut versions = AcceptedVersions::NONE;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "3.1" => versions.v3_1 = true,
                "3.1.1" => versions.v3_1_1 = true,
                "5.0" => versions.v5 = true,
                _ => return None,
            }
        }
        Some(versions)
    }

    fn expected() -> String {
        "a list of \"3.1\", \"3.1.1\" and \"5.0\"".to_owned()
    }
}

/// `"127.0.0.1:1883"`, `"unix:/run/dunlin/mqtt.sock"`, `"systemd:mqtt"`.
pub(crate) struct Address;

impl Notation<Endpoint> for Address {
    fn write(value: &Endpoint) -> String {
        format!("{:?}", value.to_string())
    }

    fn read(text: &str) -> Option<Endpoint> {
        text.parse().ok()
    }

    fn expected() -> String {
        "an IP address and a port such as \"127.0.0.1:1883\" or \"[::]:1883\", \"unix:/PATH\" or \"systemd:NAME\""
            .to_owned()
    }
}

/// Permissions of a file: `"660"`.
pub(crate) struct Permissions;

impl Notation<u32> for Permissions {
    fn write(value: &u32) -> String {
        format!("\"{value:o}\"")
    }

    fn read(text: &str) -> Option<u32> {
        u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
    }

    fn expected() -> String {
        "permissions in octal digits such as \"660\", at most \"777\"".to_owned()
    }
}

/// Addresses of a network: `["10.0.0.0/8", "192.0.2.7"]`, in a variable by commas.
pub(crate) struct Ranges;

impl Notation<Vec<IpRange>> for Ranges {
    fn write(value: &Vec<IpRange>) -> String {
        list(value)
    }

    fn read(text: &str) -> Option<Vec<IpRange>> {
        items(text).map(|item| item.parse().ok()).collect()
    }

    fn expected() -> String {
        "a list of addresses and networks such as \"10.0.0.0/8\" or \"192.0.2.7\"".to_owned()
    }
}

/// Origins of pages, or `"any"`.
pub(crate) struct Origins;

impl Notation<AllowedOrigins> for Origins {
    fn write(value: &AllowedOrigins) -> String {
        match value {
            AllowedOrigins::Any => "\"any\"".to_owned(),
            AllowedOrigins::These(origins) => list(origins),
        }
    }

    fn read(text: &str) -> Option<AllowedOrigins> {
        if text == "any" {
            return Some(AllowedOrigins::Any);
        }
        let origins: Option<Vec<Origin>> = items(text).map(|item| item.parse().ok()).collect();
        origins.map(AllowedOrigins::These)
    }

    fn expected() -> String {
        "a list of origins such as \"https://app.example\", or \"any\"".to_owned()
    }
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{:?}", item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Files: `"server.pem"`, `["a.pem", "b.pem"]`, in a variable by commas.
pub(crate) struct Files;

impl Notation<Vec<PathBuf>> for Files {
    fn write(value: &Vec<PathBuf>) -> String {
        let names: Vec<String> = value.iter().map(|path| path.display().to_string()).collect();
        match &names[..] {
            [one] => format!("{one:?}"),
            _ => list(&names),
        }
    }

    fn read(text: &str) -> Option<Vec<PathBuf>> {
        Some(items(text).map(PathBuf::from).collect())
    }

    fn expected() -> String {
        "the path of a file, or a list of them".to_owned()
    }
}

/// A folder.
pub(crate) struct Folder;

/// The path of a file.
pub(crate) struct FilePath;

impl Notation<PathBuf> for FilePath {
    fn write(value: &PathBuf) -> String {
        Folder::write(value)
    }

    fn read(text: &str) -> Option<PathBuf> {
        Folder::read(text)
    }

    fn expected() -> String {
        "the path of a file".to_owned()
    }
}

impl Notation<PathBuf> for Folder {
    fn write(value: &PathBuf) -> String {
        format!("{:?}", value.display().to_string())
    }

    fn read(text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn expected() -> String {
        "the path of a folder".to_owned()
    }
}

/// A Topic Filter.
pub(crate) struct Filter;

impl Notation<TopicFilter> for Filter {
    fn write(value: &TopicFilter) -> String {
        // TOML has the escapes that JSON has, and no others.
        serde_json::to_string(value.as_str()).unwrap_or_default()
    }

    fn read(text: &str) -> Option<TopicFilter> {
        // Whoever writes `$share/` means subscribers, and levels are the publishers' affair.
        let filter = TopicFilter::new(text.to_owned()).ok()?;
        (!text.starts_with("$share/")).then_some(filter)
    }

    fn expected() -> String {
        "a topic filter such as \"telemetry/#\" or \"+/alarm\"".to_owned()
    }
}

/// A Topic Name.
pub(crate) struct Topic;

impl Notation<TopicName> for Topic {
    fn write(value: &TopicName) -> String {
        serde_json::to_string(value.as_str()).unwrap_or_default()
    }

    fn read(text: &str) -> Option<TopicName> {
        TopicName::new(text.to_owned()).ok()
    }

    fn expected() -> String {
        "a topic without wildcards, such as \"shared/weather\"".to_owned()
    }
}

/// Any text but the word that stands for none.
pub(crate) struct FreeText;

impl Notation<String> for FreeText {
    fn write(value: &String) -> String {
        format!("{value:?}")
    }

    fn read(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn expected() -> String {
        "a text".to_owned()
    }
}

/// The address of a service. What stands in it before an `@` is refused later, and until then not written again: people put
/// passwords there.
pub(crate) struct ServiceAddress;

impl Notation<String> for ServiceAddress {
    fn write(value: &String) -> String {
        let (scheme, rest) = value.split_once("://").unwrap_or(("", value));
        match rest.rsplit_once('@') {
            Some((_, rest)) => format!("{:?}", format!("{scheme}://(redacted)@{rest}")),
            None => FreeText::write(value),
        }
    }

    fn read(text: &str) -> Option<String> {
        FreeText::read(text)
    }

    fn expected() -> String {
        "the address of a service".to_owned()
    }
}

/// A log level, or levels by module.
pub(crate) struct Level;

impl Notation<String> for Level {
    fn write(value: &String) -> String {
        format!("{value:?}")
    }

    fn read(text: &str) -> Option<String> {
        telemetry::filter(text).map(|_| text.to_owned())
    }

    fn expected() -> String {
        "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\", or levels by module such as \
         \"info,dunlin_broker=debug\""
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads<N: Notation<T>, T: PartialEq + std::fmt::Debug>(cases: &[(&str, Option<T>)]) {
        for (text, expected) in cases {
            assert_eq!(N::read(text), *expected, "{text}");
            if let Some(value) = expected {
                let written = N::write(value);
                assert_eq!(N::read(written.trim_matches('"')).as_ref(), Some(value), "{written}");
            }
        }
    }

    #[test]
    fn sizes() {
        reads::<Size, u64>(&[
            ("0", Some(0)),
            ("1000", Some(1_000)),
            ("64 KiB", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("1_024 MiB", Some(1 << 30)),
            ("7 B", Some(7)),
            ("64 KB", None),
            ("64 kib", None),
            ("-1", None),
            ("1.5 MiB", None),
            ("99999999999 GiB", None),
            ("MiB", None),
            ("", None),
            ("true", None),
        ]);
        assert_eq!(<Size as Notation<u32>>::read("4 GiB"), None);
        assert_eq!(<Size as Notation<u32>>::write(&(16 << 20)), "\"16 MiB\"");
        assert_eq!(<Size as Notation<u64>>::write(&1_000), "1000");
    }

    #[test]
    fn times() {
        reads::<Time, Duration>(&[
            ("500ms", Some(Duration::from_millis(500))),
            ("10s", Some(Duration::from_secs(10))),
            ("0s", Some(Duration::ZERO)),
            ("5 min", Some(Duration::from_secs(300))),
            ("2h", Some(Duration::from_secs(7_200))),
            ("7d", Some(Duration::from_secs(604_800))),
            ("10", None),
            ("5m", None),
            ("s", None),
            ("-1s", None),
        ]);
        reads::<OrNone<KeepAlive>, Option<u16>>(&[
            ("none", Some(None)),
            ("90s", Some(Some(90))),
            ("65535s", Some(Some(65_535))),
            ("65536s", None),
            ("1500ms", None),
        ]);
    }

    #[test]
    fn rules_about_tenants() {
        let text = "identity, attribute claims.sub, server_name .mqtt.example.com, user_name /, \
                    listener lan=default, everybody ssni";
        let rules = TenantRules::read(text).expect("rules");
        assert_eq!(rules.len(), 6);
        let written = TenantRules::write(&rules);
        assert_eq!(TenantRules::read(&written.replace(['[', ']', '"'], "")), Some(rules));
        assert_eq!(TenantRules::read(""), Some(Vec::new()));
        for bad in
            ["identity x", "attribute", "server_name x", "user_name ab", "listener x", "all x"]
        {
            assert_eq!(TenantRules::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_words_and_addresses() {
        let no_3_1 = AcceptedVersions { v3_1: false, v3_1_1: true, v5: true };
        assert_eq!(VersionList::read("3.1.1, 5.0"), Some(no_3_1));
        assert_eq!(VersionList::write(&no_3_1), "[\"3.1.1\", \"5.0\"]");
        assert_eq!(VersionList::read("4"), None);
        assert_eq!(Word::read("drop_oldest"), Some(Overflow::DropOldest));
        assert_eq!(<Word as Notation<Overflow>>::read("drop"), None);
        assert_eq!(<Word as Notation<SysPublish>>::expected(), "one of \"drop\", \"close\"");
        assert_eq!(
            Address::read("[::1]:1883"),
            Some(Endpoint::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], 1883).into()))
        );
        assert_eq!(Address::read("1883"), None);
    }

    #[test]
    fn filters() {
        for text in ["#", "telemetry/#", "+/alarm", "a \"b\""] {
            let filter = Filter::read(text).expect(text);
            assert_eq!(filter.as_str(), text);
        }
        assert_eq!(Filter::write(&Filter::read("a \"b\"").expect("a filter")), r#""a \"b\"""#);
        for text in ["", "a/#/b", "a+", "$share/g/a"] {
            assert_eq!(Filter::read(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_written_without_a_password() {
        for (address, written) in [
            ("https://auth.example/login", "https://auth.example/login"),
            ("https://me:hunter2@auth.example/a@b", "https://(redacted)@b"),
            ("me:hunter2@auth.example", "://(redacted)@auth.example"),
        ] {
            assert_eq!(ServiceAddress::write(&address.to_owned()), format!("{written:?}"));
        }
    }

    #[test]
    fn an_option_names_its_word() {
        reads::<OrAuto<Count>, Option<u32>>(&[
            ("auto", Some(None)),
            ("7", Some(Some(7))),
            ("none", None),
        ]);
        let expected = <OrAuto<Count> as Notation<Option<u16>>>::expected();
        assert_eq!(expected, "a whole number from 0 to 65535, or \"auto\"");
    }
}
