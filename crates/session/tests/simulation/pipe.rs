//! One direction of a Network Connection: in order and late; what is in it is lost when the connection is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rng::Rng;

#[derive(Default)]
pub(crate) struct Pipe(VecDeque<(Instant, Vec<u8>)>);

impl Pipe {
    pub(crate) fn push(&mut self, packet: Vec<u8>, now: Instant, rng: &mut Rng) {
        let arrival = now + Duration::from_millis(rng.below(20));
        let after_the_others = self.0.back().map_or(arrival, |(last, _)| arrival.max(*last));
        self.0.push_back((after_the_others, packet));
    }

    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.0.front()?.0 > now {
            return None;
        }
        self.0.pop_front().map(|(_, packet)| packet)
    }

    pub(crate) fn break_down(&mut self) {
        self.0.clear();
    }
}
