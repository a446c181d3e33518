//! QoS 0 copies on their way to a connected client, and the rule when it does not keep up.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use dunlin_codec::Qos;
use dunlin_session::Delivery;

use crate::budget::Charge;
use crate::chunks::Chunks;
use crate::config::Limits;
use crate::metrics::DropReason;
use crate::queue::{Drops, Parcel};

/// QoS 0 copies in their order: most are encoded already, by their publishers; those that can expire are encoded when they
/// are sent, with what is left of their time.
#[derive(Debug, Default)]
pub(crate) struct Content {
    head: Chunks,
    /// Each message with what is encoded behind it.
    rest: VecDeque<(Delivery, Chunks)>,
    /// Bytes of `rest`, but for what is encoded behind the last message, which may still grow.
    settled: usize,
}

impl Content {
    /// Bytes of all of it. Asked with every batch that is posted, however much waits.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.settled + self.unsettled()
    }

    /// Bytes that are encoded behind the last message.
    fn unsettled(&self) -> usize {
        self.rest.back().map_or(0, |(_, behind)| behind.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.rest.is_empty()
    }

    /// Where the next encoded copy goes.
    pub(crate) fn encoded(&mut self) -> &mut Chunks {
        match self.rest.back_mut() {
            Some((_, behind)) => behind,
            None => &mut self.head,
        }
    }

    /// Puts a message behind what is there.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.settled += self.unsettled() + delivery.message.size();
        self.rest.push_back((delivery, Chunks::default()));
    }

    /// Moves all of `other` behind what is there.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.encoded().append(&mut other.head);
        if !other.rest.is_empty() {
            self.settled += self.unsettled() + std::mem::take(&mut other.settled);
            self.rest.append(&mut other.rest);
        }
    }

    /// What is encoded at the front.
    pub(crate) fn head(&mut self) -> &mut Chunks {
        &mut self.head
    }

    /// The next message behind the front, with what is encoded behind it.
    pub(crate) fn pop(&mut self) -> Option<(Delivery, Chunks)> {
        let (delivery, behind) = self.rest.pop_front()?;
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
            self.settled = 0;
        } else {
            self.settled -= delivery.message.size() + behind.len();
        }
        Some((delivery, behind))
    }

    /// Forgets everything; gives the number of messages that were not encoded.
    pub(crate) fn clear(&mut self) -> u64 {
        self.head.clear();
        let messages = self.rest.len() as u64;
        self.rest = VecDeque::new();
        self.settled = 0;
        messages
    }
}

/// QoS 0 copies for a connected client.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Bounded by `qos0_lane_bytes_hard`.
    pub(crate) content: Content,
    /// What of it is encoded.
    pub(crate) tally: Tally,
    /// Whether the receiver took nothing for as long as a publisher may wait: until it takes something again, nobody waits
    /// for it.
    stalled: bool,
    /// When a publisher first found it full, since the receiver last took something.
    full_since: Option<Instant>,
    pub(crate) line: Line,
}

/// Publishers that wait for room in a lane. Each has its turn in the order in which they came, or one that was just served
/// would come before all others again.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// At most one entry for each connection.
    list: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    /// Whether it was woken, because it is its turn.
    called: bool,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Lets a publisher wait for its turn, or for the next one if there was no room after all.
    fn wait(&mut self, waker: &Waker) {
        match self.list.iter_mut().find(|waiting| waiting.waker.will_wake(waker)) {
            Some(waiting) => waiting.called = false,
            None => self.list.push_back(Waiting { waker: waker.clone(), called: false }),
        }
    }

    fn leave(&mut self, waker: &Waker) {
        let place = self.list.iter().position(|waiting| waiting.waker.will_wake(waker));
        place.map(|place| self.list.remove(place));
    }

    /// The next publisher whose turn it is, to be woken.
    pub(crate) fn call(&mut self) -> Option<Waker> {
        let waiting = self.list.iter_mut().find(|waiting| !waiting.called)?;
        waiting.called = true;
        Some(waiting.waker.clone())
    }

    /// All of them, to be woken.
    pub(crate) fn dissolve(&mut self) -> Vec<Waker> {
        self.list.drain(..).map(|waiting| waiting.waker).collect()
    }
}

/// PUBLISHes that are encoded already, for the counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) publishes: u64,
    /// Bytes of their payloads.
    pub(crate) payload: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: Self) {
        self.publishes += other.publishes;
        self.payload += other.payload;
    }
}

/// What a publisher brings for one receiver at the end of a batch.
#[derive(Debug, Default)]
pub(crate) struct Post {
    /// Encoded for `wire`.
    pub(crate) lane: Content,
    pub(crate) tally: Tally,
    /// What goes into its queue.
    pub(crate) parcels: Vec<Parcel>,
    /// Whether some of the lane's part was published at QoS 0: such a publisher can only be read more slowly, while others
    /// get their acknowledgements later.
    pub(crate) at_most_once: bool,
    /// The publisher, while it stands in the lane's line.
    pub(crate) waiting: Option<Waker>,
    /// What comes back: messages of shared groups that this receiver was chosen for and cannot take any more.
    pub(crate) returned: Vec<Delivery>,
}

impl Post {
    /// Adds a QoS 0 copy that its receiver encodes.
    pub(crate) fn add_to_lane(&mut self, delivery: Delivery) {
        self.at_most_once |= delivery.message.qos == Qos::AtMostOnce;
        self.lane.push(delivery);
    }

    /// Moves what another has for the lane behind what is there.
    pub(crate) fn take_lane(&mut self, other: &mut Self) {
        self.lane.append(&mut other.lane);
        self.tally.add(std::mem::take(&mut other.tally));
        self.at_most_once |= std::mem::take(&mut other.at_most_once);
    }
}

/// How posting went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Posted {
    /// All of it was taken or dropped.
    Done,
    /// The receiver's lane is full: what the lane should take is still with the publisher, who is woken when there is
    /// room.
    Wait,
}

/// How a publisher stands towards a slow receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience<'a> {
    /// It can wait.
    Waits {
        /// Woken when there is room.
        waker: &'a Waker,
        /// Bytes in the receiver's lane from which on it waits.
        from: usize,
        /// Whether it may be read more slowly for that.
        read: bool,
    },
    /// It waited as long as it may.
    Exhausted,
    /// It must not wait: nobody is there to wait.
    None,
}

impl Lane {
    /// Takes in what one batch has for it.
    pub(crate) fn take(
        &mut self,
        post: &mut Post,
        same_wire: bool,
        patience: Patience<'_>,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Posted {
        let held = self.content.len();
        let reason = match patience {
            // The receiver went, or came back with another version, since the copy was made.
            _ if !same_wire => Some(DropReason::Offline),
            Patience::Waits { waker, from, read }
                if self.is_full(post, held >= from) && (read || !post.at_most_once) =>
            {
                if held >= from {
                    self.full_since.get_or_insert_with(Instant::now);
                }
                self.line.wait(waker);
                post.waiting = Some(waker.clone());
                return Posted::Wait;
            }
            Patience::Exhausted if held >= limits.qos0_lane_bytes_soft => {
                let since = self.full_since.unwrap_or_else(Instant::now);
                self.stalled = since.elapsed() >= limits.publisher_slow_max;
                Some(DropReason::SlowReader)
            }
            // What is larger than the bound by itself passes when nothing else waits.
            Patience::Waits { .. } | Patience::Exhausted | Patience::None => {
                let full = held > 0 && held + post.lane.len() > limits.qos0_lane_bytes_hard;
                full.then_some(DropReason::SlowReader)
            }
        };
        if let Some(waker) = post.waiting.take() {
            self.line.leave(&waker);
        }
        let tally = std::mem::take(&mut post.tally);
        match reason {
            Some(reason) => drops.block(reason, tally.publishes + post.lane.clear()),
            None => {
                self.content.append(&mut post.lane);
                self.tally.add(tally);
            }
        }
        Posted::Done
    }

    /// Takes in a message that was made for a client that was away and is not any more; gives what it costs.
    pub(crate) fn take_late(
        &mut self,
        delivery: Delivery,
        limits: &Limits,
        drops: &mut Drops,
    ) -> Charge {
        let held = self.content.len();
        if held > 0 && held + delivery.message.size() > limits.qos0_lane_bytes_hard {
            drops.one(DropReason::SlowReader, delivery);
        } else {
            self.content.push(delivery);
        }
        Charge::of_bytes(i64::try_from(self.content.len() - held).unwrap_or(0))
    }

    /// Whether a publisher has to wait: for room, or until it is its turn.
    fn is_full(&self, post: &Post, full: bool) -> bool {
        !self.stalled && (full || post.waiting.is_none() && !self.line.is_empty())
    }

    /// The publishers to be woken after one was served.
    pub(crate) fn next(&mut self, limits: &Limits) -> Vec<Waker> {
        if self.stalled {
            self.line.dissolve()
        } else if self.content.len() < limits.qos0_lane_bytes_soft {
            self.line.call().into_iter().collect()
        } else {
            Vec::new()
        }
    }

    /// What is left when its receiver has taken what was in it: the publishers that wait, if there are any.
    pub(crate) fn emptied(line: Line) -> Option<Box<Self>> {
        (!line.is_empty()).then(|| Box::new(Self { line, ..Self::default() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use bytes::Bytes;
    use dunlin_codec::{Message, TopicName};
    use dunlin_session::{Origin, SubscriptionIds};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What happens to a content.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Encoded(usize),
        Message(usize),
        /// Another content with so many bytes, a message, and so many behind it, is appended.
        Append(usize, Option<(usize, usize)>),
        TakeHead,
        Pop,
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..300_usize).prop_map(Step::Encoded),
            (0..300_usize).prop_map(Step::Message),
            (0..300_usize, proptest::option::of((0..300_usize, 0..300_usize)))
                .prop_map(|(head, rest)| Step::Append(head, rest)),
            Just(Step::TakeHead),
            Just(Step::Pop),
            Just(Step::Clear),
        ]
    }

    fn delivery(payload: usize) -> Delivery {
        Delivery {
            message: Arc::new(Message {
                topic: TopicName::copy_from("a/b").expect("valid"),
                payload: Bytes::from(vec![0; payload]),
                qos: Qos::AtMostOnce,
                retain: false,
                properties: None,
            }),
            qos: Qos::AtMostOnce,
            retain: false,
            subscription_ids: SubscriptionIds::new(),
            seq: 0,
            expires_at: None,
            sent_before: false,
            origin: Origin::Plain,
        }
    }

    /// Looks at everything.
    fn counted(content: &Content) -> usize {
        let rest = content.rest.iter();
        let rest = rest.map(|(delivery, behind)| delivery.message.size() + behind.len());
        content.head.len() + rest.sum::<usize>()
    }

    proptest! {
        /// It once looked at everything with each batch that was posted, so that what a slow receiver cost its publishers
        /// grew with what waited for it.
        #[test]
        fn a_content_knows_how_long_it_is(steps in vec(step(), 0..60)) {
            let mut content = Content::default();
            for step in steps {
                match step {
                    Step::Encoded(bytes) => content.encoded().extend(&vec![1; bytes]),
                    Step::Message(payload) => content.push(delivery(payload)),
                    Step::Append(head, rest) => {
                        let mut other = Content::default();
                        other.encoded().extend(&vec![2; head]);
                        if let Some((payload, behind)) = rest {
                            other.push(delivery(payload));
                            other.encoded().extend(&vec![3; behind]);
                        }
                        content.append(&mut other);
                        prop_assert_eq!((other.len(), other.is_empty()), (0, true));
                    }
                    Step::TakeHead => content.head().clear(),
                    Step::Pop => {
                        content.head().clear();
                        if let Some((_, mut behind)) = content.pop() {
                            content.head().append(&mut behind);
                        }
                    }
                    Step::Clear => _ = content.clear(),
                }
                prop_assert_eq!(content.len(), counted(&content));
            }
        }
    }

    #[test]
    fn what_comes_late_keeps_to_the_hard_bound() {
        let limits = Limits { qos0_lane_bytes_hard: 100, ..Limits::default() };
        let (mut lane, mut drops) = (Lane::default(), Drops::default());
        // Each has three bytes of topic. The first passes whatever its size.
        let mut cost = Vec::new();
        for payload in [200, 0] {
            cost.push(lane.take_late(delivery(payload), &limits, &mut drops));
        }
        assert_eq!(cost, [Charge::of_bytes(203), Charge::default()]);
        lane.content.clear();
        for payload in [37, 37, 37] {
            lane.take_late(delivery(payload), &limits, &mut drops);
        }
        assert_eq!((lane.content.len(), lane.content.rest.len()), (80, 2));
        let dropped: Vec<_> = drops.list.iter().map(|one| (one.reason, one.count)).collect();
        assert_eq!(dropped, [(DropReason::SlowReader, 1), (DropReason::SlowReader, 1)]);
    }

    /// A publisher that counts how often it is woken.
    #[derive(Default)]
    struct Publisher(AtomicUsize);

    impl Wake for Publisher {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A lane with one publisher after the other at it.
    struct Scene {
        limits: Limits,
        lane: Lane,
        publishers: Vec<(Arc<Publisher>, Waker, Post)>,
    }

    impl Scene {
        fn new(publishers: usize) -> Self {
            let limits =
                Limits { qos0_lane_bytes_soft: 10, qos0_lane_bytes_hard: 100, ..Limits::default() };
            let publisher = |_| {
                let publisher = Arc::new(Publisher::default());
                let waker = Waker::from(Arc::clone(&publisher));
                (publisher, waker, Post { at_most_once: true, ..Post::default() })
            };
            let publishers = (0..publishers).map(publisher).collect();
            Self { limits, lane: Lane::default(), publishers }
        }

        /// The publisher brings ten bytes, unless it has some already; who is woken, and how many are dropped.
        fn post(&mut self, number: usize, exhausted: bool) -> (Posted, Vec<usize>, u64) {
            let (_, waker, post) = &mut self.publishers[number];
            if post.lane.is_empty() {
                post.lane.encoded().extend(&[0; 10]);
                post.tally.publishes = 1;
            }
            let from = self.limits.qos0_lane_bytes_soft;
            let patience = if exhausted {
                Patience::Exhausted
            } else {
                Patience::Waits { waker, from, read: true }
            };
            let mut drops = Drops::default();
            let posted = self.lane.take(post, true, patience, &self.limits, &mut drops);
            if posted == Posted::Done {
                self.lane.next(&self.limits).into_iter().for_each(Waker::wake);
            }
            (posted, self.woken(), drops.list.iter().map(|dropped| dropped.count).sum())
        }

        /// The receiver takes all there is; who is woken.
        fn collect(&mut self) -> Vec<usize> {
            let mut lane = std::mem::take(&mut self.lane);
            [lane.line.call(), lane.line.call()].into_iter().flatten().for_each(Waker::wake);
            self.lane = Lane::emptied(lane.line).map_or_else(Lane::default, |lane| *lane);
            self.woken()
        }

        fn woken(&self) -> Vec<usize> {
            let woken = |(number, (publisher, ..)): (usize, &(Arc<Publisher>, Waker, Post))| {
                (publisher.0.swap(0, Ordering::Relaxed) > 0).then_some(number)
            };
            self.publishers.iter().enumerate().filter_map(woken).collect()
        }
    }

    #[test]
    fn publishers_have_their_turns_in_the_order_in_which_they_came() {
        let mut scene = Scene::new(4);
        assert_eq!(scene.post(0, false), (Posted::Done, vec![], 0));
        for number in [0, 1, 2, 3] {
            assert_eq!(scene.post(number, false), (Posted::Wait, vec![], 0));
        }
        assert_eq!(scene.collect(), [0, 1]);
        assert_eq!(scene.post(0, false), (Posted::Done, vec![], 0));
        // There is no room left, and when there is, the one just served comes last.
        assert_eq!(scene.post(1, false), (Posted::Wait, vec![], 0));
        assert_eq!(scene.post(0, false), (Posted::Wait, vec![], 0));
        assert_eq!(scene.collect(), [1, 2]);
        assert_eq!(scene.post(1, false), (Posted::Done, vec![], 0));
        assert_eq!(scene.collect(), [0, 3]);
        // Nobody passes the line, though there is room.
        assert_eq!(scene.post(1, false), (Posted::Wait, vec![], 0));
        for number in [2, 3, 0, 1] {
            assert_eq!(scene.post(number, false).0, Posted::Done);
            scene.collect();
        }
        assert!(scene.lane.line.is_empty());
    }

    #[test]
    fn nobody_waits_for_a_receiver_that_took_nothing() {
        let mut scene = Scene::new(3);
        scene.post(0, false);
        assert_eq!(scene.post(1, false).0, Posted::Wait);
        assert_eq!(scene.post(2, false).0, Posted::Wait);
        // One that waited for something else before this drops its own and lets the others wait on.
        assert_eq!(scene.post(1, true), (Posted::Done, vec![], 1));
        assert_eq!(scene.post(1, false).0, Posted::Wait);
        scene.limits.publisher_slow_max = std::time::Duration::ZERO;
        assert_eq!(scene.post(1, true), (Posted::Done, vec![2], 1));
        for _ in 0..9 {
            assert_eq!(scene.post(2, false), (Posted::Done, vec![], 0));
        }
        assert_eq!(scene.post(2, false), (Posted::Done, vec![], 1));
        scene.collect();
        scene.post(0, false);
        assert_eq!(scene.post(1, false).0, Posted::Wait);
    }
}
