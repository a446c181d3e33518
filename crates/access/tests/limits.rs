//! Rates, quotas, bans, flapping and failed logins, in simulated time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dunlin_access::{
    AddressRange, Ban, BanList, BanListFull, BanTarget, EffectiveQuotas, FlapDetector, FlapRule,
    LoginThrottle, Named, Quotas, Rate, Scope, ThrottleRules, Throttled, ThrottledBy, TokenBucket,
    UnixSeconds, Visitor, parse_bans, write_bans,
};
use proptest::prelude::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[expect(
    clippy::disallowed_methods,
    reason = "time begins somewhere, and nothing else is taken from the clock"
)]
fn an_instant() -> Instant {
    Instant::now()
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

proptest! {
    /// Fractions in whole numbers: after `t` nanoseconds a bucket has had `burst * per + tokens * t` of a `per`-th.
    #[test]
    fn a_bucket_gives_exactly_what_its_rate_brings(
        tokens in 1..2_000_u64,
        per_millis in 1..5_000_u64,
        burst in 1..100_u64,
        steps in prop::collection::vec((0..3_000_000_000_u64, 1..150_u64, any::<bool>()), 1..60),
    ) {
        let start = an_instant();
        let per = Duration::from_millis(per_millis);
        let mut bucket = TokenBucket::new(Rate::new(tokens, per).with_burst(burst), start);
        let worth = i128::from(per_millis) * 1_000_000;
        let full = i128::from(burst) * worth;
        let (mut credit, mut now, mut given) = (full, 0_u64, 0_i128);
        let mut largest = 0;
        for (pause, count, takes) in steps {
            now += pause;
            credit = full.min(credit + i128::from(pause) * i128::from(tokens));
            let at = start + Duration::from_nanos(now);
            let wait = |missing: i128| {
                let nanos = missing.max(0).unsigned_abs().div_ceil(u128::from(tokens));
                Duration::from_nanos(u64::try_from(nanos).expect("it is short"))
            };
            if takes {
                let wanted = i128::from(count.min(burst)) * worth;
                let expected = if credit < wanted { Err(wait(wanted - credit)) } else { Ok(()) };
                prop_assert_eq!(bucket.try_take(count, at), expected);
                if expected.is_ok() {
                    credit -= i128::from(count) * worth;
                    given += i128::from(count);
                    largest = largest.max(i128::from(count));
                    // What was given out is never more than the burst, what came since, and one that was larger.
                    let came = i128::from(now) * i128::from(tokens);
                    prop_assert!((given - largest) * worth <= full + came);
                }
            } else if credit >= 0 {
                credit -= i128::from(count) * worth;
                given += i128::from(count);
                largest = largest.max(i128::from(count));
                prop_assert_eq!(bucket.charge(count, at), wait(-credit));
            }
        }
    }

    /// Who waits as long as told gets it, and not a nanosecond earlier.
    #[test]
    fn a_wait_is_exact(tokens in 1..2_000_u64, per in 1..5_000_u64, burst in 1..50_u64, count in 1..50_u64) {
        let start = an_instant();
        let rate = Rate::new(tokens, Duration::from_millis(per)).with_burst(burst);
        let mut bucket = TokenBucket::new(rate, start);
        bucket.charge(burst, start);
        let wait = bucket.try_take(count, start).expect_err("it is empty");
        let early = start + wait.saturating_sub(Duration::from_nanos(1));
        prop_assert!(bucket.clone().try_take(count, early).is_err());
        prop_assert_eq!(bucket.try_take(count, start + wait), Ok(()));
    }
}

#[test]
fn a_rate_is_changed_while_it_runs() {
    let start = an_instant();
    let mut bucket = TokenBucket::new(Rate::per_second(100), start);
    assert_eq!(bucket.try_take(50, start), Ok(()));
    // Half of a hundred are left, and stay so in another unit of time.
    bucket.set_rate(Rate::new(600, secs(60)), start);
    assert_eq!(bucket.try_take(50, start), Ok(()));
    assert_eq!(bucket.try_take(1, start), Err(Duration::from_millis(100)));
    bucket.set_rate(Rate::per_second(1), start);
    assert_eq!(bucket.try_take(1, start + secs(1)), Ok(()));
    // Time that runs backwards stands still.
    assert_eq!(bucket.try_take(1, start), Err(secs(1)));
    assert_eq!(bucket.try_take(1, start + secs(2)), Ok(()));
}

#[test]
fn what_was_taken_and_not_used_goes_back() {
    let start = an_instant();
    let mut bucket = TokenBucket::new(Rate::per_second(10).with_burst(5), start);
    assert_eq!((bucket.available(start), bucket.is_full(start)), (5, true));
    assert_eq!(bucket.charge(7, start), Duration::from_millis(200));
    assert_eq!((bucket.available(start), bucket.is_full(start)), (0, false));
    bucket.give_back(4);
    assert_eq!(bucket.available(start), 2);
    // Never more than the burst.
    bucket.give_back(9);
    assert_eq!((bucket.available(start), bucket.is_full(start)), (5, true));
}

#[test]
fn limits_that_say_nothing_leave_it_to_others() {
    let mut own = Quotas::default();
    own.connections = Some(1);
    let mut others = Quotas::default();
    others.connections = Some(2);
    others.keep_alive_min = Some(secs(3));
    let mut expected = others;
    expected.connections = Some(1);
    assert_eq!(own.or(others), expected);
}

#[test]
fn the_tightest_quota_counts_and_says_where_it_was_set() {
    let quotas = |set: fn(&mut Quotas)| {
        let mut quotas = Quotas::default();
        set(&mut quotas);
        quotas
    };
    let broker = quotas(|quotas| {
        quotas.subscriptions = Some(100);
        quotas.messages_in = Some(Rate::per_second(1_000).with_burst(10));
        quotas.keep_alive_min = Some(secs(30));
        quotas.keep_alive_max = Some(secs(600));
    });
    let tenant = quotas(|quotas| {
        quotas.subscriptions = Some(100);
        quotas.messages_in = Some(Rate::per_second(500).with_burst(5_000));
        quotas.keep_alive_min = Some(secs(60));
        quotas.packet_bytes = Some(1_024);
    });
    let role = quotas(|quotas| {
        quotas.subscriptions = Some(7);
        quotas.keep_alive_max = Some(secs(45));
    });
    let all = EffectiveQuotas::tightest([
        (Scope::Broker, &broker),
        (Scope::Tenant("t".into()), &tenant),
        (Scope::Role("r".into()), &role),
    ]);
    let mut expected = EffectiveQuotas::default();
    fn limit<T>(value: T, scope: Scope) -> Option<dunlin_access::Limit<T>> {
        Some(dunlin_access::Limit { value, scope })
    }
    let (tenant, role) = (Scope::Tenant("t".into()), Scope::Role("r".into()));
    expected.subscriptions = limit(7, role.clone());
    // The slower rate, and of both the smaller burst.
    expected.messages_in = limit(Rate::per_second(500).with_burst(10), tenant.clone());
    expected.packet_bytes = limit(1_024, tenant);
    expected.keep_alive_max = limit(secs(45), role.clone());
    // A minimum above the maximum gives way.
    expected.keep_alive_min = limit(secs(45), role);
    assert_eq!(all, expected);
}

#[test]
fn ranges_of_addresses() {
    for (text, expected) in [
        ("192.0.2.0/24", Ok("192.0.2.0/24")),
        ("192.0.2.7", Ok("192.0.2.7")),
        ("192.0.2.7/32", Ok("192.0.2.7")),
        ("0.0.0.0/0", Ok("0.0.0.0/0")),
        ("::/0", Ok("::/0")),
        ("2001:db8::/32", Ok("2001:db8::/32")),
        ("::ffff:192.0.2.0/120", Ok("192.0.2.0/24")),
        ("::ffff:192.0.2.7", Ok("192.0.2.7")),
        ("192.0.2.1/24", Err("the address has bits behind the prefix")),
        (
            "192.0.2.0/33",
            Err("the length of the prefix must be a number up to 32 for IPv4 and 128 for IPv6"),
        ),
        (
            "192.0.2.0/+8",
            Err("the length of the prefix must be a number up to 32 for IPv4 and 128 for IPv6"),
        ),
        (
            "192.0.2.0/",
            Err("the length of the prefix must be a number up to 32 for IPv4 and 128 for IPv6"),
        ),
        ("192.0.2", Err("not an IP address")),
        ("", Err("not an IP address")),
    ] {
        let range = text.parse::<AddressRange>();
        let found = range.map(|range| range.to_string()).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(|error| &**error), expected, "{text}");
    }
    let range: AddressRange = "192.0.2.0/24".parse().expect("a range");
    assert!(range.contains(address("192.0.2.255")) && range.contains(address("::ffff:192.0.2.1")));
    assert!(!range.contains(address("192.0.3.0")) && !range.contains(address("2001:db8::1")));
}

fn target() -> impl Strategy<Value = BanTarget> {
    let address = prop_oneof![
        (0..4_u8, 24..=32_u8).prop_map(|(last, prefix)| format!(
            "10.0.0.{}/{prefix}",
            (last as u32) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
        )),
        (0..4_u8).prop_map(|last| format!("2001:db8::{last}")),
        Just("2001:db8::/32".to_owned()),
    ];
    prop_oneof![
        address.prop_map(|text| BanTarget::Address(text.parse().expect("a range"))),
        named(vec!["u", "v\"\n"]).prop_map(BanTarget::User),
        named(vec!["c", "d\\"]).prop_map(BanTarget::Client),
    ]
}

fn named(names: Vec<&'static str>) -> impl Strategy<Value = Named> {
    let tenant = prop::option::of(prop::sample::select(vec!["t", "t\"\n"]));
    (prop::sample::select(names), tenant)
        .prop_map(|(name, tenant)| Named { name: name.into(), tenant: tenant.map(Box::from) })
}

fn is_named(visitor: &Visitor<'_>, name: Option<&str>, named: &Named) -> bool {
    name == Some(&*named.name)
        && named.tenant.as_deref().is_none_or(|tenant| visitor.tenant == Some(tenant))
}

proptest! {
    #[test]
    fn bans_are_what_a_walk_through_all_finds(
        bans in prop::collection::vec((target(), prop::option::of(1..100_u64), any::<bool>()), 0..20),
        last in 0..5_u8,
        is_v4 in any::<bool>(),
        now in (0..110_u64).prop_map(UnixSeconds),
    ) {
        let mut list = BanList::default();
        let mut plain = BTreeMap::new();
        for (target, until, adds) in bans {
            if adds {
                let ban = Ban { target: target.clone(), until: until.map(UnixSeconds), reason: "why \"so\"".into() };
                prop_assert_eq!(list.add(ban.clone(), UnixSeconds(0)), Ok(plain.insert(target, ban)));
            } else {
                prop_assert_eq!(list.remove(&target), plain.remove(&target));
            }
        }
        let holds = |ban: &&Ban| ban.until.is_none_or(|until| now < until);
        let ip = address(&if is_v4 { format!("10.0.0.{last}") } else { format!("2001:db8::{last}") });
        for visitor in [
            Visitor { address: Some(ip), ..Visitor::default() },
            Visitor { user: Some("u"), ..Visitor::default() },
            Visitor { client_id: Some("c"), ..Visitor::default() },
            Visitor { user: Some("u"), tenant: Some("t"), ..Visitor::default() },
            Visitor { address: Some(ip), user: Some("u"), client_id: Some("c"), tenant: Some("t") },
        ] {
            let is_meant = |ban: &&Ban| match &ban.target {
                BanTarget::Address(range) => visitor.address.is_some_and(|ip| range.contains(ip)),
                BanTarget::User(named) => is_named(&visitor, visitor.user, named),
                BanTarget::Client(named) => is_named(&visitor, visitor.client_id, named),
            };
            let found = list.find(&visitor, now);
            let expected: Vec<_> = plain.values().filter(holds).filter(is_meant).collect();
            prop_assert_eq!(found.is_some(), !expected.is_empty());
            prop_assert!(found.is_none_or(|ban| expected.contains(&ban)));
        }

        let again = parse_bans("bans", &write_bans(&list, now), now).expect("it reads back");
        let sorted = |list: &BanList| list.iter().cloned().map(|ban| (ban.target.clone(), ban)).collect::<BTreeMap<_, _>>();
        let left: BTreeMap<_, _> = plain.iter().filter(|(_, ban)| holds(ban)).map(|(target, ban)| (target.clone(), ban.clone())).collect();
        prop_assert_eq!(sorted(&again), left.clone());
        list.expire(now);
        prop_assert_eq!(sorted(&list), left);
    }
}

#[test]
fn bans_are_bounded_and_expired_ones_make_room() {
    let mut list = BanList::default();
    let ban = |number: usize, until| Ban {
        target: BanTarget::Client(Named::anywhere(&number.to_string())),
        until: Some(UnixSeconds(until)),
        reason: "".into(),
    };
    for number in 0..BanList::BANS_MAX {
        let until = if number == 5 { 10 } else { 1_000 };
        list.add(ban(number, until), UnixSeconds(0)).expect("there is room");
    }
    let one_more = ban(BanList::BANS_MAX, 1_000);
    assert_eq!(list.add(one_more.clone(), UnixSeconds(9)), Err(BanListFull));
    assert_eq!(list.add(one_more.clone(), UnixSeconds(10)), Ok(None));
    assert_eq!(list.add(one_more.clone(), UnixSeconds(10)), Ok(Some(one_more)));
    assert_eq!(list.len(), BanList::BANS_MAX);
}

#[test]
fn what_is_wrong_in_a_file_of_bans_is_listed_with_its_lines() {
    for (text, expected) in [
        ("bans = 1", "1: `bans` is not known here: a ban is a table [[ban]]"),
        ("[ban]\nuser = 'u'", "1: `ban` is not known here: a ban is a table [[ban]]"),
        ("[[ban]]\nreason = 'x'", "1: a ban is of one `address`, one `user` or one `client`"),
        (
            "[[ban]]\nuser = 'x'\nclient = 'y'",
            "1: a ban is of one `address`, one `user` or one `client`",
        ),
        (
            "[[ban]]\naddress = '10.0.0.1/8'",
            "2: `10.0.0.1/8`: the address has bits behind the prefix",
        ),
        ("[[ban]]\nuser = 'x'\nuntil = 'monday'", "3: `until` must be seconds since 1970"),
        ("[[ban]]\nuser = 'x'\nuntl = 7", "3: unknown key `untl`: did you mean `until`?"),
        ("[[ban]]\naddress = '10.0.0.1'\ntenant = 't'", "3: an address is banned for all tenants"),
        ("[[ban]]\nuser = 7", "2: `user` must be a text in quotes"),
    ] {
        let problems = parse_bans("f", text, UnixSeconds(0)).expect_err(text);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("f:{expected}")], "{text}");
    }
}

proptest! {
    #[test]
    fn who_flaps_is_noticed_at_the_connect_that_makes_it_so(
        connects in 2..6_usize,
        within in 1..20_u64,
        events in prop::collection::vec((0..8_u64, 0..3_usize), 1..80),
    ) {
        let rule = FlapRule { connects, within: secs(within), ban: secs(60) };
        let mut flapping = FlapDetector::new(rule);
        let start = an_instant();
        let mut times: [Vec<u64>; 3] = Default::default();
        let mut now = 0;
        for (pause, client) in events {
            now += pause;
            let times = &mut times[client];
            times.push(now);
            times.retain(|time| now - time <= within);
            let expected = times.len() >= connects;
            if expected {
                times.clear();
            }
            let found = flapping.connected(&client.to_string(), start + secs(now));
            prop_assert_eq!(found, expected.then_some(secs(60)));
        }
    }

    /// Whatever fails elsewhere, a user gets its tries from where it is.
    #[test]
    fn an_address_is_never_locked_out_by_another(
        failures in prop::collection::vec((0..200_u8, 0..4_u8, 0..500_u64), 0..400),
    ) {
        let mut throttle = LoginThrottle::new(ThrottleRules::default());
        let mut now = an_instant();
        for (host, user, pause) in failures {
            now += Duration::from_millis(pause);
            throttle.failed(address(&format!("10.0.0.{host}")), &format!("user{user}"), now);
        }
        for user in 0..4 {
            let elsewhere = address("10.0.0.250");
            prop_assert_eq!(throttle.check(elsewhere, &format!("user{user}"), now), Ok(()));
        }
    }
}

#[test]
fn failed_logins_are_throttled_by_address_and_user_and_by_address() {
    let mut throttle = LoginThrottle::new(ThrottleRules::default());
    let now = an_instant();
    let (here, near) = (address("2001:db8::1"), address("2001:db8::2"));
    for _ in 0..10 {
        assert_eq!(throttle.check(here, "alice", now), Ok(()));
        throttle.failed(here, "alice", now);
    }
    let expected = Throttled { by: ThrottledBy::AddressAndUser, wait: secs(6) };
    assert_eq!(throttle.check(here, "alice", now), Err(expected));
    assert_eq!(throttle.check(near, "alice", now), Err(expected), "the same 64 bits");
    assert_eq!(throttle.check(here, "bob", now), Ok(()));
    assert_eq!(throttle.check(address("2001:db8:0:1::1"), "alice", now), Ok(()));

    for number in 0..90 {
        throttle.failed(here, &format!("user{number}"), now);
    }
    let expected = Throttled { by: ThrottledBy::Address, wait: Duration::from_millis(600) };
    assert_eq!(throttle.check(here, "bob", now), Err(expected));
    assert_eq!(throttle.check(here, "bob", now + Duration::from_millis(600)), Ok(()));

    assert_eq!(
        throttle.check(here, "alice", now + secs(1)).map_err(|error| error.wait),
        Err(secs(5))
    );
    assert_eq!(throttle.check(here, "alice", now + secs(6)), Ok(()));
    throttle.failed(here, "alice", now + secs(6));
    throttle.succeeded(here, "alice");
    assert_eq!(throttle.check(here, "alice", now + secs(6)), Ok(()));
}

#[test]
fn tables_are_bounded_however_many_come() {
    let start = an_instant();
    let mut throttle = LoginThrottle::new(ThrottleRules::default());
    let mut flapping = FlapDetector::new(FlapRule { connects: 3, within: secs(10), ban: secs(60) });
    for number in 0..140_000_u32 {
        throttle.failed(IpAddr::from(number.to_be_bytes()), "u", start);
        flapping.connected(&number.to_string(), start);
    }
    assert!(throttle.len() <= 4 * LoginThrottle::ENTRIES_MAX);
    assert!(flapping.len() <= 2 * FlapDetector::CLIENTS_MAX);
    // When all of it is long ago, it is gone.
    let later = start + secs(3_600);
    assert_eq!(throttle.check(address("10.0.0.1"), "u", later), Ok(()));
    assert!(throttle.is_empty());
}
