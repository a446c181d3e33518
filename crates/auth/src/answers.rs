//! What was answered not long ago, so that a client that comes back at once costs no question.
//!
//! Nothing in it can be read back: what was asked, the password with it, is kept as an HMAC under a key that was made at the
//! start and is nowhere else.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::mac::{SHA256_BYTES, hmac_of_parts};
use crate::random;

/// What a question is kept by.
pub(crate) type Fingerprint = [u8; SHA256_BYTES];

pub(crate) struct Answers<T> {
    key: Option<[u8; SHA256_BYTES]>,
    entries_max: usize,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    entries: HashMap<Fingerprint, (T, Instant, u64)>,
    /// In the order in which they came, each with its number: one that was replaced meanwhile has another.
    order: VecDeque<(Fingerprint, u64)>,
    next: u64,
    given_up: u64,
}

impl<T: Clone> Answers<T> {
    /// Room for this many answers; the oldest goes when another comes. With 0, or without a source of randomness for its
    /// key, it keeps nothing.
    pub(crate) fn new(entries_max: usize) -> Self {
        let key = random::bytes().ok();
        let kept = Kept { entries: HashMap::new(), order: VecDeque::new(), next: 0, given_up: 0 };
        Self { key: key.filter(|_| entries_max > 0), entries_max, kept: Mutex::new(kept) }
    }

    /// What this question is kept by; none if nothing is kept.
    pub(crate) fn fingerprint(&self, question: &[&[u8]]) -> Option<Fingerprint> {
        Some(hmac_of_parts(self.key.as_ref()?, question))
    }

    pub(crate) fn find(&self, question: &Fingerprint, now: Instant) -> Option<T> {
        let kept = self.kept();
        let (answer, until, _) = kept.entries.get(question)?;
        (*until > now).then(|| answer.clone())
    }

    pub(crate) fn keep(&self, question: Fingerprint, answer: T, time: Duration, now: Instant) {
        let Some(until) = now.checked_add(time).filter(|until| *until > now) else { return };
        let mut kept = self.kept();
        let number = kept.next;
        kept.next += 1;
        kept.entries.insert(question, (answer, until, number));
        kept.order.push_back((question, number));
        while kept.order.len() > self.entries_max {
            kept.forget_oldest(now);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept();
        kept.entries = HashMap::new();
        kept.order = VecDeque::new();
    }

    /// How many answers had to go before their time because others came.
    pub(crate) fn given_up(&self) -> u64 {
        self.kept().given_up
    }

    /// No code that can panic runs while it is locked, so that what is there is whole whatever happened.
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Kept<T> {
    fn forget_oldest(&mut self, now: Instant) {
        let Some((question, number)) = self.order.pop_front() else { return };
        let Some((_, until, kept)) = self.entries.get(&question) else { return };
        // A later answer to the same question stays.
        if *kept == number {
            self.given_up += u64::from(*until > now);
            self.entries.remove(&question);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_is_kept_for_its_time_and_for_its_question_only() {
        let (cache, now) = (Answers::new(2), Instant::now());
        let [one, other] =
            [&b"one"[..], b"other"].map(|question| cache.fingerprint(&[question]).expect("a key"));
        cache.keep(one, 1, TIME, now);
        assert_eq!(cache.find(&one, now), Some(1));
        assert_eq!(cache.find(&other, now), None);
        assert_eq!(cache.find(&one, now + TIME), None);
        cache.keep(one, 2, TIME, now + TIME);
        assert_eq!(cache.find(&one, now + TIME), Some(2));
        cache.keep(other, 3, Duration::ZERO, now);
        assert_eq!(cache.find(&other, now), None);
        cache.clear();
        assert_eq!(cache.find(&one, now + TIME), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (cache, now) = (Answers::new(3), Instant::now());
        let questions: Vec<_> = (0..5_u8).filter_map(|one| cache.fingerprint(&[&[one]])).collect();
        for (number, question) in questions.iter().enumerate() {
            cache.keep(*question, number, TIME, now);
        }
        let found: Vec<_> = questions.iter().map(|question| cache.find(question, now)).collect();
        assert_eq!(found, [None, None, Some(2), Some(3), Some(4)]);
        assert_eq!(cache.given_up(), 2);
        assert_eq!(cache.kept().entries.len(), 3);
    }

    #[test]
    fn one_question_asked_again_and_again_takes_bounded_room() {
        let (cache, now) = (Answers::new(3), Instant::now());
        let question = cache.fingerprint(&[b"one"]).expect("a key");
        for number in 0..100 {
            cache.keep(question, number, TIME, now);
        }
        assert_eq!(cache.find(&question, now), Some(99));
        assert_eq!(cache.given_up(), 0);
        let kept = cache.kept();
        assert_eq!((kept.entries.len(), kept.order.len()), (1, 3));
    }

    #[test]
    fn where_there_is_no_room_nothing_is_kept() {
        assert_eq!(Answers::<u8>::new(0).fingerprint(&[b"one"]), None);
    }
}
