use super::*;

fn entry(id: u64, seq: u64) -> Entry {
    Entry {
        id: MessageId(id),
        seq,
        size: 300,
        expiry: Expiry::Never,
        sent_before: false,
        may_repeat: false,
    }
}

fn stored(item: Taken) -> Entry {
    match item {
        Taken::Stored(entry) => entry,
        Taken::Held(delivery) => panic!("{delivery:?} is in memory"),
    }
}

/// What the list takes, beside the messages that are in memory.
fn bytes_taken(pages: &Pages) -> usize {
    let slots: usize = pages.blocks.iter().map(|block| block.slots.capacity()).sum();
    slots * size_of::<Slot>() + pages.blocks.capacity() * size_of::<Block>()
}

#[test]
fn a_place_costs_sixteen_bytes() {
    let mut pages = Pages::new(Instant::now());
    for number in 1..=50_000 {
        pages.push(entry(number * 200, number));
    }
    assert_eq!(Pages::ENTRY_BYTES, 16);
    let taken = bytes_taken(&pages);
    assert!((800_000..820_000).contains(&taken), "{taken}");
    // Every tenth is left: the room of the others is given back.
    let gone = pages.take_where(|item| matches!(item, Item::Stored(entry) if entry.seq % 10 != 0));
    assert_eq!((gone.len(), pages.len(), pages.bytes()), (45_000, 5_000, 1_500_000));
    let taken = bytes_taken(&pages);
    assert!(taken < 90_000, "{taken}");
    while pages.pop_front().is_some() {}
    assert_eq!((bytes_taken(&pages), pages.bytes()), (0, 0));
}

#[test]
fn numbers_far_apart_are_kept() {
    let mut pages = Pages::new(Instant::now());
    let mut all = Vec::new();
    let (mut id, mut seq) = (1, 1);
    for step in [1, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000, 1 << 40, 3] {
        for _ in 0..40 {
            all.push(entry(id, seq));
            (id, seq) = (id + step, seq + step);
        }
    }
    all.iter().for_each(|entry| pages.push(*entry));
    let listed: Vec<Entry> = pages
        .iter()
        .map(|item| match item {
            Item::Stored(entry) => entry,
            Item::Held(_) => panic!("nothing is in memory"),
        })
        .collect();
    assert_eq!(listed, all);
    let taken: Vec<Entry> = std::iter::from_fn(|| pages.pop_front().map(stored)).collect();
    assert_eq!(taken, all);
}

#[test]
// [MQTT-3.3.2-5] Never before its time.
fn an_expiry_is_kept_to_ten_milliseconds() {
    let base = Instant::now();
    let mut pages = Pages::new(base);
    let times = [0, 1, 10, 11, 60_000, 40_000_000_000].map(Duration::from_millis);
    for (number, left) in (1..).zip(times) {
        pages.push(Entry { expiry: Expiry::At(base + left), ..entry(number, number) });
        pages.push_expiring(entry(100 + number, 100 + number), left);
    }
    assert_eq!(pages.next_expiry(), Some(base));
    for left in times {
        for _ in 0..2 {
            match pages.pop_front().map(stored).expect("an entry").expiry {
                Expiry::At(at) => {
                    let late = at.checked_duration_since(base + left).expect("not too early");
                    assert!(late < Duration::from_millis(10), "{late:?}");
                }
                Expiry::Far => assert_eq!(left, Duration::from_secs(40_000_000)),
                Expiry::Never => panic!("it expires"),
            }
        }
    }
}

#[test]
// [MQTT-4.3.3-7] Once sending began, it is carried through.
fn what_may_have_been_sent_does_not_expire() {
    let base = Instant::now();
    let mut pages = Pages::new(base);
    for number in 1..=4 {
        let sent_before = number % 2 == 1;
        let place = Entry { sent_before, may_repeat: true, ..entry(number, number) };
        pages.push(Entry { expiry: Expiry::At(base), ..place });
    }
    let gone: Vec<u64> =
        pages.take_expired(base).into_iter().map(|item| stored(item).seq).collect();
    assert_eq!(gone, [2, 4]);
    assert_eq!((pages.len(), pages.next_expiry()), (2, None));
}
