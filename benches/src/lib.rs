//! The workloads that Dunlin's codec and topic indexes are timed with, each with a name, shared by all that is
//! compared. What is compared lies in `benches/`, behind the feature `peers`; `README.md` says how to run it.

pub mod packets;
pub mod subscriptions;
