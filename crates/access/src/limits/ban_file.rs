//! The bans in a file, so that they outlive the process.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use super::bans::{Ban, BanList, BanTarget, Named, UnixSeconds};
use crate::file::quoted;
use crate::nearest::nearest;
use crate::problem::{Lines, Problem};

/// The most bytes of a file of bans. A longer one is refused unread.
pub const BAN_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

const HEAD: &str = "\
# Who is not let in. A table [[ban]] each, with `address`, `user` or `client`, a `reason`, and `until` in seconds since 1970
# unless the ban holds until it is taken back. With `tenant` a user or client is meant in that tenant only.
";

const BAN: &str = "ban";
const KEYS: [&str; 6] = ["address", "user", "client", "tenant", "reason", "until"];

/// Writes all bans that still hold, sorted, as [`parse_bans`] reads them.
#[must_use]
pub fn write_bans(bans: &BanList, now: UnixSeconds) -> String {
    let mut out = HEAD.to_owned();
    let mut all: Vec<_> =
        bans.iter().filter(|ban| ban.until.is_none_or(|until| now < until)).collect();
    all.sort_unstable_by_key(|ban| &ban.target);
    for Ban { target, until, reason } in all {
        let named = |key, Named { name, tenant }: &Named| {
            let tenant = tenant.as_ref().map(|tenant| format!("\ntenant = {}", quoted(tenant)));
            format!("{key} = {}{}", quoted(name), tenant.unwrap_or_default())
        };
        let target = match target {
            BanTarget::Address(range) => format!("address = \"{range}\""),
            BanTarget::User(name) => named("user", name),
            BanTarget::Client(id) => named("client", id),
        };
        let _ = write!(out, "\n[[{BAN}]]\n{target}\nreason = {}\n", quoted(reason));
        if let Some(UnixSeconds(until)) = until {
            let _ = writeln!(out, "until = {until}");
        }
    }
    out
}

/// Reads a file of bans. `name` is the file's, as it is to stand in problems. Bans that no longer hold are left out.
///
/// ```
/// use dunlin_access::{UnixSeconds, parse_bans};
///
/// let bans = parse_bans("bans.toml", "[[ban]]\nuser = 'eve'\nreason = 'shared her password'\n", UnixSeconds(0));
/// assert_eq!(bans.expect("the file is good").len(), 1);
/// ```
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the lines.
pub fn parse_bans(name: &str, text: &str, now: UnixSeconds) -> Result<BanList, Vec<Problem>> {
    let lines = Lines::new(name, text);
    if text.len() > BAN_FILE_BYTES_MAX {
        return Err(vec![lines.problem(0, format!("more than {BAN_FILE_BYTES_MAX} bytes"))]);
    }
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        vec![lines.problem(error.span().map_or(0, |span| span.start), message)]
    })?;
    let mut bans = BanList::default();
    let mut problems = Vec::new();
    for (key, value) in table.get_ref() {
        let offset = key.span().start;
        let list = value.get_ref().as_array().filter(|_| key.get_ref() == BAN);
        let Some(list) = list else {
            let message =
                format!("`{}` is not known here: a ban is a table [[{BAN}]]", key.get_ref());
            problems.push((offset, message));
            continue;
        };
        for each in list {
            let offset = each.span().start;
            let Some(table) = each.get_ref().as_table() else {
                problems.push((offset, format!("a ban is a table [[{BAN}]]")));
                continue;
            };
            let found = problems.len();
            let Some(ban) = read(table, offset, &mut problems) else { continue };
            let holds = ban.until.is_none_or(|until| now < until);
            if problems.len() == found
                && holds
                && let Err(full) = bans.add(ban, now)
            {
                problems.push((offset, full.to_string()));
                break;
            }
        }
    }
    if problems.is_empty() {
        return Ok(bans);
    }
    problems.sort();
    Err(problems.into_iter().map(|(offset, message)| lines.problem(offset, message)).collect())
}

fn read(table: &DeTable<'_>, offset: usize, problems: &mut Vec<(usize, String)>) -> Option<Ban> {
    let (mut targets, mut until, mut reason) = (Vec::new(), None, None);
    let said = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name);
    let tenant = said("tenant").and_then(|(_, value)| value.get_ref().as_str());
    let named = |name: &str| Named { name: name.into(), tenant: tenant.map(Box::from) };
    for (key, value) in table {
        let offset = key.span().start;
        let key = &**key.get_ref();
        let text = value.get_ref().as_str();
        match (key, text) {
            ("address", Some(text)) => match text.parse() {
                Ok(range) => targets.push(BanTarget::Address(range)),
                Err(error) => problems.push((offset, format!("`{text}`: {error}"))),
            },
            ("user", Some(text)) => targets.push(BanTarget::User(named(text))),
            ("client", Some(text)) => targets.push(BanTarget::Client(named(text))),
            ("tenant", Some(_)) if said("address").is_some() => {
                problems.push((offset, "an address is banned for all tenants".to_owned()));
            }
            ("tenant", Some(_)) => {}
            ("reason", Some(text)) => reason = Some(Box::from(text)),
            ("until", _) => match seconds(value.get_ref()) {
                Some(seconds) => until = Some(seconds),
                None => problems.push((offset, "`until` must be seconds since 1970".to_owned())),
            },
            ("address" | "user" | "client" | "tenant" | "reason", None) => {
                problems.push((offset, format!("`{key}` must be a text in quotes")));
            }
            _ => {
                let near = nearest(key, KEYS.into_iter());
                let advice = near.map_or_else(
                    || format!("there are {}", KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                problems.push((offset, format!("unknown key `{key}`: {advice}")));
            }
        }
    }
    let named = table.keys().filter(|key| KEYS.iter().take(3).any(|known| key.get_ref() == known));
    if named.count() != 1 {
        let message = "a ban is of one `address`, one `user` or one `client`";
        problems.push((offset, message.to_owned()));
    }
    Some(Ban { target: targets.pop()?, until, reason: reason.unwrap_or_default() })
}

fn seconds(value: &DeValue<'_>) -> Option<UnixSeconds> {
    let DeValue::Integer(digits) = value else { return None };
    u64::from_str_radix(digits.as_str(), digits.radix()).ok().map(UnixSeconds)
}
