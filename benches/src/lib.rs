//! The workloads that Dunlin's codec, topic indexes, sessions and store are timed with, each with a name, shared by all
//! that is compared. What is compared lies in `benches/`, behind the feature `peers`; `README.md` says how to run it.

pub mod exchanges;
pub mod packets;
pub mod queues;
pub mod subscriptions;
