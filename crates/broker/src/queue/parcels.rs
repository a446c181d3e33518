//! Messages with QoS above 0 in their order, with runs among them.

use std::collections::VecDeque;

use dunlin_session::{Delivery, Run};

/// What a queue takes in or hands over at once.
#[derive(Debug)]
pub(crate) enum Parcel {
    One(Delivery),
    /// Messages of a publisher that go out as they came in.
    Run(Run),
}

impl Parcel {
    /// How many messages it has.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Run(run) => run.len(),
        }
    }

    /// Whether it came by a shared group.
    pub(crate) const fn is_shared(&self) -> bool {
        match self {
            Self::One(delivery) => delivery.origin.is_shared(),
            Self::Run(run) => run.origin().is_shared(),
        }
    }

    /// Its messages.
    pub(crate) fn into_deliveries(self) -> impl Iterator<Item = Delivery> {
        let (one, run) = match self {
            Self::One(delivery) => (Some(delivery), None),
            Self::Run(run) => (None, Some(run)),
        };
        one.into_iter().chain(run.into_iter().flatten())
    }
}

/// Messages in their order.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    list: VecDeque<Parcel>,
    /// Messages in `list` beyond one for each entry.
    more: usize,
}

impl Parcels {
    /// None.
    pub(super) const fn new() -> Self {
        Self { list: VecDeque::new(), more: 0 }
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.list.len() + self.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts something behind what is there; not an empty run.
    pub(super) fn push(&mut self, parcel: Parcel) {
        self.more += parcel.len() - 1;
        self.list.push_back(parcel);
    }

    /// The first message, or the first `max` messages at the most of a run.
    #[inline]
    pub(super) fn pop(&mut self, max: usize) -> Option<Parcel> {
        if let Some(Parcel::Run(run)) = self.list.front_mut()
            && run.len() > max
        {
            self.more -= max;
            return (max > 0).then(|| Parcel::Run(run.split_front(max)));
        }
        let parcel = if max > 0 { self.list.pop_front() } else { None }?;
        self.more -= parcel.len() - 1;
        Some(parcel)
    }

    /// The first message, and whether it was in a run.
    pub(super) fn pop_one(&mut self) -> Option<(Delivery, bool)> {
        match self.pop(1)? {
            Parcel::One(delivery) => Some((delivery, false)),
            Parcel::Run(mut run) => Some((run.pop()?, true)),
        }
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Parcel> + use<> {
        std::mem::take(self).list.into_iter()
    }

    /// Whether there are runs among them.
    pub(super) fn has_runs(&self) -> bool {
        self.list.iter().any(|parcel| matches!(parcel, Parcel::Run(_)))
    }

    /// Those that are in no run.
    pub(super) fn singles(&self) -> impl Iterator<Item = &Delivery> {
        self.list.iter().filter_map(|parcel| match parcel {
            Parcel::One(delivery) => Some(delivery),
            Parcel::Run(_) => None,
        })
    }

    /// Gives memory back that a long queue left behind.
    pub(super) fn shrink(&mut self) {
        if self.list.is_empty() && self.list.capacity() > 0 {
            self.list = VecDeque::new();
        }
    }
}
