//! Messages for queues that outlive a process, and retained messages.

/// Messages that become durable with one commit: what waits when many publishers share it.
pub const GROUP: usize = 64;
/// Sessions there are.
pub const SESSIONS: u32 = 100;
/// How many of them get each message.
pub const RECEIVERS: [u32; 3] = [1, 10, 100];
/// Messages in a queue that is drained.
pub const BACKLOG: usize = 4096;
/// Retained messages in a store that is opened.
pub const RETAINED: u64 = 10_000;
/// The topic of every message that is queued.
pub const TOPIC: &str = "site/03/line/7/temperature";
/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 256;

/// What is done, in the order of the results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// A group of messages enters the queues of so many sessions.
    Enqueue(u32),
    /// The queue of one session is read and acknowledged, a group at a time.
    Drain,
    /// A group of retained messages is stored.
    Retain,
    /// A store is opened that holds retained messages, and all of them are read.
    Open,
}

impl Work {
    /// All of it, in the order of the results.
    pub const ALL: [Self; 6] = {
        let [one, ten, hundred] = RECEIVERS;
        let enqueue = [Self::Enqueue(one), Self::Enqueue(ten), Self::Enqueue(hundred)];
        let [one, ten, hundred] = enqueue;
        [one, ten, hundred, Self::Drain, Self::Retain, Self::Open]
    };

    /// The row in the results.
    #[must_use]
    pub fn name(self, is_durable: bool) -> String {
        let what = match self {
            Self::Enqueue(1) => "enqueue for 1 session".to_owned(),
            Self::Enqueue(sessions) => format!("enqueue for {sessions} sessions"),
            Self::Drain => "drain".to_owned(),
            Self::Retain => "retain".to_owned(),
            Self::Open => "open and read retained".to_owned(),
        };
        if is_durable { what } else { format!("{what}, in memory") }
    }
}

/// The rows, in the order of the results.
#[must_use]
pub fn names() -> Vec<String> {
    let rows = |is_durable| Work::ALL.into_iter().map(move |work| work.name(is_durable));
    rows(true).chain(rows(false)).collect()
}

/// The payload of a message: its number, then filler.
#[must_use]
pub fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![b'x'; PAYLOAD_BYTES];
    for (to, from) in payload.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    payload
}

/// The number in a payload; none if it is damaged.
#[must_use]
pub fn number_in(bytes: &[u8]) -> Option<u64> {
    let (number, filler) = bytes.split_first_chunk()?;
    let whole = bytes.len() == PAYLOAD_BYTES && filler.iter().all(|byte| *byte == b'x');
    whole.then_some(u64::from_be_bytes(*number))
}

/// The topic of a retained message.
#[must_use]
pub fn retained_topic(number: u64) -> String {
    format!("site/{:02}/line/{}/sensor/{number}/state", number % 20, number % 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_its_number_unless_it_is_damaged() {
        let mut bytes = payload(77);
        assert_eq!(number_in(&bytes), Some(77));
        bytes.pop();
        assert_eq!(number_in(&bytes), None);
        bytes.push(b'y');
        assert_eq!(number_in(&bytes), None);
    }
}
