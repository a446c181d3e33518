//! Rules `[[quotas]]`: whom they are for and what they limit, as they are written.

use std::marker::PhantomData;
use std::time::Duration;

use dunlin_broker::config::{OverRate, QuotaRule, Rate, Whom};

use crate::notation::{Notation, Time, Words};

/// A rule `[[quotas]]` as far as it was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct QuotaDraft {
    pub(crate) whom: Option<Whom>,
    /// What it limits; whom is said above.
    pub(crate) rule: QuotaRule,
}

impl Default for QuotaDraft {
    fn default() -> Self {
        Self { whom: None, rule: QuotaRule::new(Whom::Broker) }
    }
}

impl QuotaDraft {
    /// The rule; none if it does not say whom it is for.
    pub(crate) fn finish(self) -> Option<QuotaRule> {
        let whom = self.whom?;
        let mut rule = self.rule;
        rule.whom = whom;
        Some(rule)
    }

    /// The draft that a rule came from.
    pub(crate) fn of(rule: &QuotaRule) -> Self {
        Self { whom: Some(rule.whom.clone()), rule: rule.clone() }
    }

    /// What many need first: one client cannot starve the rest.
    pub(crate) fn example() -> Self {
        let mut rule = QuotaRule::new(Whom::EachClient);
        rule.quotas.messages_in = Some(Rate::per_second(100).with_burst(500));
        rule.quotas.subscriptions = Some(100);
        Self::of(&rule)
    }
}

impl Words for OverRate {
    const WORDS: &'static [(&'static str, Self)] =
        &[("wait", Self::Wait), ("drop", Self::Drop), ("disconnect", Self::Disconnect)];
}

/// `"each client"`, `"tenant acme"`.
pub(crate) struct Somebody;

impl Notation<Whom> for Somebody {
    fn write(value: &Whom) -> String {
        // TOML has the escapes that JSON has, and no others.
        serde_json::to_string(&value.to_string()).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Whom> {
        text.parse().ok()
    }

    fn expected() -> String {
        "\"broker\", \"listener NAME\", \"tenant NAME\", \"role NAME\", \"user NAME\", \"client ID\", \"each listener\", \
         \"each tenant\", \"each user\" or \"each client\""
            .to_owned()
    }
}

/// So many in a time: `"100/s"`, `"64 KiB/s"`, with what can be saved up `"100/s burst 500"`. The number is written as `N`
/// writes one.
pub(crate) struct PerTime<N>(PhantomData<N>);

/// The times that need no number.
const UNITS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3_600)),
    ("d", Duration::from_secs(86_400)),
];

impl<N: Notation<u64>> Notation<Rate> for PerTime<N> {
    fn write(value: &Rate) -> String {
        let number = |number: u64| N::write(&number).trim_matches('"').to_owned();
        let (tokens, per) = value.tokens_per();
        let unit = UNITS.iter().find(|(_, unit)| *unit == per);
        let unit = unit.map_or_else(
            || Time::write(&per).trim_matches('"').to_owned(),
            |(name, _)| (*name).to_owned(),
        );
        let burst = match value.burst() {
            burst if burst == tokens => String::new(),
            burst => format!(" burst {}", number(burst)),
        };
        format!("\"{}/{unit}{burst}\"", number(tokens))
    }

    fn read(text: &str) -> Option<Rate> {
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (tokens, per) = rate.split_once('/')?;
        let at_least_one = |text: &str| N::read(text.trim()).filter(|number| *number > 0);
        let per = per.trim();
        let unit = UNITS.iter().find(|(name, _)| *name == per).map(|(_, unit)| *unit);
        let per = unit.or_else(|| Time::read(per))?;
        if per.is_zero() || per > Rate::PER_MAX {
            return None;
        }
        let rate = Rate::new(at_least_one(tokens)?, per);
        Some(match burst {
            Some(burst) => rate.with_burst(at_least_one(burst)?),
            None => rate,
        })
    }

    fn expected() -> String {
        "a rate such as \"100/s\", \"5000/min\" or \"64 KiB/s\", with what can be saved up \"100/s burst 500\"".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::notation::{Count, Size};

    use super::*;

    #[test]
    fn rates() {
        let minute = Duration::from_secs(60);
        for (text, rate, written) in [
            ("100/s", Rate::per_second(100), "\"100/s\""),
            ("100 / s", Rate::per_second(100), "\"100/s\""),
            ("100/1s", Rate::per_second(100), "\"100/s\""),
            ("5_000/min", Rate::new(5_000, minute), "\"5000/min\""),
            ("1/5min", Rate::new(1, minute * 5), "\"1/5min\""),
            ("10/s burst 50", Rate::per_second(10).with_burst(50), "\"10/s burst 50\""),
        ] {
            assert_eq!(PerTime::<Count>::read(text), Some(rate), "{text}");
            assert_eq!(PerTime::<Count>::write(&rate), written, "{text}");
        }
        let rate = Rate::per_second(65_536).with_burst(1 << 20);
        assert_eq!(PerTime::<Size>::read("64 KiB/s burst 1 MiB"), Some(rate));
        assert_eq!(PerTime::<Size>::write(&rate), "\"64 KiB/s burst 1 MiB\"");
        for text in [
            "",
            "100",
            "100/",
            "/s",
            "0/s",
            "1/0s",
            "1/2d",
            "1/s burst 0",
            "1/s burst",
            "x/s",
            "1 KiB/s",
        ] {
            assert_eq!(PerTime::<Count>::read(text), None, "{text}");
        }
    }

    #[test]
    fn somebody() {
        let whom = Whom::User("a \"b\"".to_owned());
        assert_eq!(Somebody::write(&whom), r#""user a \"b\"""#);
        assert_eq!(Somebody::read("user a \"b\""), Some(whom));
        assert_eq!(Somebody::read("everybody"), None);
    }
}
