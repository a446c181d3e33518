//! Accounts that connections share, in simulated time, against the definition of a rate: in no span of time more than it
//! brings and what can be saved up.

use std::time::Duration;

use dunlin_access::Rate;
use dunlin_codec::DecodeLimits;
use proptest::prelude::*;

use super::*;

fn rule(whom: &str, set: impl FnOnce(&mut QuotaRule)) -> QuotaRule {
    let mut rule = QuotaRule::new(whom.parse().expect("somebody"));
    set(&mut rule);
    rule
}

const ROLES: &[String] = &[];

const fn who<'a>(tenant: &'a str, user: &'a str, client_id: &'a str) -> Who<'a> {
    Who { tenant, user, client_id, roles: ROLES, listener: "lan" }
}

/// QoS 0 PUBLISHes to the topic `a` with payloads of these sizes.
fn publishes(sizes: &[u8]) -> Vec<u8> {
    let publish = |size: &u8| {
        let head = [0x30, 3 + size, 0, 1, b'a'];
        head.into_iter().chain(std::iter::repeat_n(0, usize::from(*size)))
    };
    sizes.iter().flat_map(publish).collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// When how much was let through.
type History = Vec<(u64, u64)>;

/// The definition, looked at in each span that begins and ends with something let through. One larger than all that can be
/// saved up is let through alone, and counts as that much; what it is beyond is owed afterwards.
fn conforms(history: &History, per_second: u64, burst: u64) -> bool {
    (0..history.len()).all(|first| {
        let mut sum = 0;
        history.iter().enumerate().skip(first).all(|(index, (at, count))| {
            let began = history.get(first).map_or(0, |(at, _)| *at);
            sum += count;
            let brought = (at - began) * per_second;
            let last = if *count > burst && index > first { count - burst } else { 0 };
            let alone = if index == first { count.saturating_sub(burst) } else { 0 };
            (sum - last - alone) * 1_000 <= burst * 1_000 + brought
        })
    })
}

/// When a connection is to be looked at again, in milliseconds. The rates are such that it is a whole number.
fn due(held: &Held, start: Instant) -> Option<u64> {
    let since = held.next_deadline()?.saturating_duration_since(start);
    assert_eq!(since.subsec_nanos() % 1_000_000, 0, "{since:?}");
    u64::try_from(since.as_millis()).ok()
}

/// A connection with what its client has sent and was not taken in yet.
struct Sender {
    held: Box<Held>,
    unread: Vec<u8>,
    user: usize,
}

proptest! {
    /// Two users of one tenant with two connections each send as they like. Nobody gets more than his user's and his
    /// tenant's rate allow; who waits as long as told gets his next packet through; nothing is lost, doubled or put in
    /// another order; and when all is taken in, the accounts are as if nobody had ever waited.
    #[test]
    fn shared_rates_are_what_their_definition_says(
        steps in prop::collection::vec((0..400_u64, 0..4_usize, prop::collection::vec(0..40_u8, 0..6)), 1..60),
        user_burst in 1..6_u64,
        tenant_bytes in 20..200_u64,
    ) {
        const USER_RATE: u64 = 10;
        let tenant_rate = 100;
        let rules = [
            rule("each user", |rule| {
                rule.quotas.messages_in = Some(Rate::per_second(USER_RATE).with_burst(user_burst));
            }),
            rule("tenant t", |rule| {
                rule.quotas.bytes_in = Some(Rate::per_second(tenant_rate).with_burst(tenant_bytes));
            }),
        ];
        let start = Instant::now();
        let book = Book::new(&rules);
        let users = ["u", "v"];
        let mut senders: Vec<Sender> = ["1", "2", "3", "4"].iter().enumerate().map(|(index, client)| {
            let user = index % 2;
            let held = book.admit(who("t", users[user], client), || false, start);
            Sender { held: held.expect("let in").expect("with limits"), unread: Vec::new(), user }
        }).collect();
        let limits = DecodeLimits::default();
        let mut messages: [History; 2] = Default::default();
        let mut bytes = History::new();
        let (mut now, mut at_step, mut steps) = (0, 0, steps.into_iter().peekable());
        loop {
            let due = senders.iter().filter_map(|sender| due(&sender.held, start)).min();
            let step = steps.peek().map(|(pause, ..)| at_step + pause);
            now = match (step, due) {
                (Some(step), due) if due.is_none_or(|due| step <= due) => {
                    if let Some((_, index, sizes)) = steps.next() {
                        senders[index].unread.extend(publishes(&sizes));
                    }
                    at_step = step;
                    step
                }
                (_, Some(due)) => due,
                (_, None) => break,
            };
            let at = start + millis(now);
            for sender in &mut senders {
                if sender.unread.is_empty() || !sender.held.reads(at) {
                    continue;
                }
                let waited = sender.held.next_deadline().is_some();
                let permit = sender.held.permit(&sender.unread, &limits, at);
                prop_assert_eq!(permit.beyond, Beyond::Wait);
                // Its user's turn and its tenant's may come one after the other, but each wait is for something.
                prop_assert!(permit.upto > 0 || !waited || !sender.held.reads(at));
                let taken: Vec<u8> = sender.unread.drain(..permit.upto).collect();
                let count = frames::Count::of(frames::Frames::new(&taken, &limits));
                prop_assert_eq!(count.bytes, taken.len() as u64, "whole packets only");
                if count.frames > 0 {
                    messages[sender.user].extend((0..count.messages).map(|_| (now, 1)));
                    bytes.extend(frames::Frames::new(&taken, &limits).map(|frame| (now, frame.bytes)));
                }
                prop_assert_eq!(sender.unread.is_empty(), sender.held.reads(at), "waits for what is left");
            }
        }
        // What is paid for in one account may have to wait for another: one packet for each connection.
        for history in &messages {
            prop_assert!(conforms(history, USER_RATE, user_burst + 2), "{:?}", history);
        }
        prop_assert!(conforms(&bytes, tenant_rate, tenant_bytes + 4 * 44), "{:?}", bytes);
        // After a rest all is there again, and not more.
        let rested = start + millis(now) + Duration::from_secs(60);
        let burst = publishes(&[0; 40]);
        let permit = senders[0].held.permit(&burst, &limits, rested);
        let expected = user_burst.min(tenant_bytes / 5) * 5;
        prop_assert_eq!(permit.upto as u64, expected);
    }

    /// From one connection: it is held back only where one packet more would be more than the rate allows.
    #[test]
    fn nobody_waits_longer_than_the_rate_asks(
        steps in prop::collection::vec((0..300_u64, 1..6_usize), 1..60),
        burst in 1..6_u64,
    ) {
        let rate = Rate::per_second(10).with_burst(burst);
        let book = Book::new(&[rule("each client", |rule| rule.quotas.messages_in = Some(rate))]);
        let start = Instant::now();
        let mut held = book.admit(who("t", "", "c"), || false, start).expect("let in").expect("with limits");
        let limits = DecodeLimits::default();
        let (mut now, mut unread, mut history) = (0, 0, History::new());
        let mut take = |now: u64, unread: &mut usize| {
            if held.reads(start + millis(now)) {
                let data = publishes(&vec![0; *unread]);
                let taken = held.permit(&data, &limits, start + millis(now)).upto / 5;
                *unread -= taken;
                history.extend(std::iter::repeat_n((now, 1), taken));
            }
            let one_more = history.iter().copied().chain([(now, 1)]).collect();
            let right = conforms(&history, 10, burst) && (*unread == 0 || !conforms(&one_more, 10, burst));
            (right, due(&held, start))
        };
        for (pause, sent) in steps {
            let step = now + pause;
            // As a timer would have it, at each moment that it waits for.
            while let (right, Some(due)) = take(now, &mut unread) {
                prop_assert!(right);
                if due > step {
                    break;
                }
                now = due;
            }
            now = step;
            unread += sent;
            let (right, _) = take(now, &mut unread);
            prop_assert!(right);
        }
    }
}

#[test]
fn what_is_named_goes_before_what_holds_for_each_and_the_tightest_counts() {
    let rules = [
        rule("each client", |rule| {
            rule.quotas.connections = Some(1);
            rule.quotas.subscriptions = Some(10);
        }),
        rule("client big", |rule| rule.quotas.subscriptions = Some(100)),
        rule("tenant t", |rule| rule.quotas.subscriptions = Some(50)),
    ];
    let book = Book::new(&rules);
    let limit = |tenant, client| {
        let limits = book.effective(who(tenant, "u", client)).expect("there are some");
        (
            limits.connections.map(|limit| limit.to_string()),
            limits.subscriptions.map(|limit| limit.to_string()),
        )
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(limit("t", "c"), (text("1, set for client c"), text("10, set for client c")));
    assert_eq!(limit("t", "big"), (text("1, set for client big"), text("50, set for tenant t")));
    assert_eq!(limit("x", "big").1, text("100, set for client big"));
    assert_eq!(Book::new(&[]).effective(who("t", "u", "c")), None);
    let others = Book::new(&[rule("user v", |rule| rule.quotas.subscriptions = Some(1))]);
    assert_eq!(others.effective(who("t", "u", "c")), None);
}

/// Who is refused by one account has taken nothing from the others.
#[test]
fn places_are_taken_in_all_accounts_or_in_none() {
    let rules = [
        rule("each user", |rule| {
            rule.quotas.connects = Some(Rate::new(2, Duration::from_secs(3_600)))
        }),
        rule("each tenant", |rule| rule.quotas.connections = Some(1)),
    ];
    let (book, now) = (Book::new(&rules), Instant::now());
    let first = book.admit(who("t", "u", "1"), || false, now).expect("let in");
    let refused = book.admit(who("t", "u", "2"), || false, now).expect_err("the tenant is full");
    let event = QuotaEvent { scope: QuotaScope::Tenant, limit: QuotaLimit::Connections };
    assert_eq!(refused, NotAdmitted { event, whose: "tenant t".to_owned() });
    // The place of the connection that it takes over is its own.
    let again = book.admit(who("t", "u", "1"), || true, now).expect("it takes over");
    drop((first, again));
    let refused = book.admit(who("t", "u", "1"), || false, now).expect_err("two in an hour");
    let event = QuotaEvent { scope: QuotaScope::User, limit: QuotaLimit::Connects };
    assert_eq!(refused, NotAdmitted { event, whose: "user u of tenant t".to_owned() });
    // In another tenant there is another user of this name.
    assert!(book.admit(who("x", "u", "1"), || false, now).is_ok());
    assert!(book.admit(who("t", "u", "1"), || false, now + Duration::from_secs(1_800)).is_ok());
}

#[test]
fn whoever_comes_back_finds_what_it_left() {
    let hourly = Rate::new(1, Duration::from_secs(3_600));
    let book = Book::new(&[rule("each client", |rule| rule.quotas.messages_in = Some(hourly))]);
    let (limits, now) = (DecodeLimits::default(), Instant::now());
    let one = publishes(&[0]);
    let mut held =
        book.admit(who("t", "", "c"), || false, now).expect("let in").expect("with limits");
    assert_eq!(held.permit(&one, &limits, now), Permit::all(5));
    drop(held);
    for number in 0..10_000 {
        book.admit(who("t", "", &number.to_string()), || false, now).expect("let in");
    }
    let mut held =
        book.admit(who("t", "", "c"), || false, now).expect("let in").expect("with limits");
    assert_eq!(held.permit(&one, &limits, now).upto, 0);
    // Those that nobody needs are forgotten on the way.
    let mut accounts = 0;
    book.for_each(|_| accounts += 1);
    assert!(accounts <= SHARDS * SWEEP_LEAST, "{accounts}");
}

#[test]
fn patience_ends_as_the_rule_says() {
    let limits = DecodeLimits::default();
    let three = publishes(&[0, 0, 0]);
    for (over_rate, beyond) in
        [(OverRate::Drop, Beyond::Drop), (OverRate::Disconnect, Beyond::Disconnect)]
    {
        let now = Instant::now();
        let book = Book::new(&[rule("broker", |rule| {
            rule.quotas.messages_in = Some(Rate::new(1, Duration::from_secs(60)));
            rule.over_rate = over_rate;
            rule.patience = millis(300);
        })]);
        let mut held =
            book.admit(who("t", "", "c"), || false, now).expect("let in").expect("with limits");
        let permit = held.permit(&three, &limits, now);
        assert_eq!((permit.upto, permit.beyond), (5, Beyond::Wait));
        assert!(!held.reads(now + millis(299)));
        assert_eq!(held.next_deadline(), Some(now + millis(300)));
        let late = now + millis(300);
        assert!(held.reads(late));
        let permit = held.permit(&three[5..], &limits, late);
        assert_eq!((permit.upto, permit.beyond), (0, beyond));
        // While it goes on like that, nobody has patience anew.
        let permit = held.permit(&three, &limits, late + millis(1));
        assert_eq!((permit.upto, permit.beyond), (0, beyond));
        // Once it has kept to its rate, they have.
        let later = now + Duration::from_secs(120);
        assert_eq!(held.permit(&three[..5], &limits, later), Permit::all(5));
        assert_eq!(held.permit(&three, &limits, later).beyond, Beyond::Wait);
    }
}

#[test]
fn what_is_sent_is_paid_for_afterwards() {
    let now = Instant::now();
    let book = Book::new(&[
        rule("each client", |rule| {
            rule.quotas.messages_out = Some(Rate::per_second(10).with_burst(5));
        }),
        rule("broker", |rule| rule.quotas.bytes_out = Some(Rate::per_second(100))),
    ]);
    let held = book.admit(who("t", "", "c"), || false, now);
    let mut held = held.expect("let in").expect("with limits");
    assert_eq!(held.room_out(now), Some(5));
    held.sent(5, 50, now);
    assert_eq!((held.room_out(now), held.next_deadline()), (None, Some(now + millis(100))));
    let event = QuotaEvent { scope: QuotaScope::Client, limit: QuotaLimit::MessagesOut };
    assert_eq!((held.holds_back(), held.holds_back()), (Some(event), None));
    assert_eq!(held.room_out(now + millis(100)), Some(1));
    assert!(!held.holds_out() && held.next_deadline().is_none());
    // More than there was: what is owed is waited for.
    held.sent(1, 70, now + millis(100));
    assert_eq!(held.room_out(now + millis(100)), None);
    let event = QuotaEvent { scope: QuotaScope::Broker, limit: QuotaLimit::BytesOut };
    assert_eq!(held.holds_back(), Some(event));
    assert_eq!(held.next_deadline(), Some(now + millis(210)));
}

#[test]
fn other_rules_hold_for_those_who_are_there() {
    let (limits, now) = (DecodeLimits::default(), Instant::now());
    let with = |rate| [rule("each client", |rule| rule.quotas.messages_in = Some(rate))];
    let book = Book::new(&with(Rate::per_second(1)));
    let mut held =
        book.admit(who("t", "", "c"), || false, now).expect("let in").expect("with limits");
    let three = publishes(&[0, 0, 0]);
    assert_eq!(held.permit(&three, &limits, now).upto, 5);
    book.set_rules(&with(Rate::per_second(1_000)), now);
    let later = now + Duration::from_secs(1);
    assert_eq!(held.permit(&three, &limits, later).upto, 15);
    let mut present = book.admit_present(who("t", "", "c"), later).expect("with limits");
    drop(held);
    book.set_rules(&[], later);
    assert_eq!(present.permit(&three, &limits, later), Permit::all(15));
    assert!(book.admit_present(who("t", "", "c"), later).is_none());
}
