//! MQTT Topic Names and Topic Filters.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod filter;
mod hash;
mod index;
mod levels;
mod matching;
mod name;
mod names;
mod room;
mod shared;
mod text;

pub use crate::filter::{InvalidTopicFilter, TopicFilter, check_topic_filter};
pub use crate::hash::{KeyedHasher, KeyedState};
pub use crate::index::FilterIndex;
pub use crate::levels::Levels;
pub use crate::matching::matches;
pub use crate::name::{InvalidTopicName, TopicName, check_topic_name};
pub use crate::names::{NameCursor, NameIndex, NameIter, Replay};
pub use crate::shared::{SharedFilter, SubscriptionFilter};
pub use crate::text::{InvalidText, TEXT_BYTES_MAX, Text, TextRules, check_text};
