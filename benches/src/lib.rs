//! The workloads that Dunlin's codec, topic indexes, sessions and store are timed with, each with a name, shared by all
//! that is compared, and the bytes that loads of whole brokers are made of. What is compared lies in `benches/`, behind the
//! feature `peers`; `README.md` says how to run it.

pub mod exchanges;
pub mod packets;
pub mod queues;
pub mod stream;
pub mod subscriptions;
pub mod wire;
