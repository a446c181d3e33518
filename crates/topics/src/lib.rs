//! MQTT Topic Names and Topic Filters, and indexes that match one against many.
//!
//! - [`TopicName`], [`TopicFilter`], [`SharedFilter`] and [`SubscriptionFilter`] are checked once,
//!   by all of sections 4.7 and 4.8.2 of MQTT 5.0 and section 4.7 of MQTT 3.1.1, and are cheap to
//!   clone. Whoever holds one need not check again.
//! - [`matches`](fn@matches) holds one filter against one name.
//! - [`FilterIndex`] holds one name against all filters: who gets this message?
//! - [`NameIndex`] holds one filter against all names, at the pace of whoever asks: which retained
//!   messages does this subscription get?
//!
//! ```
//! use dunlin_topics::{FilterIndex, NameIndex, SubscriptionFilter, TopicFilter, TopicName};
//!
//! // Who gets what is published?
//! let mut subscriptions = FilterIndex::new();
//! subscriptions.insert(&TopicFilter::try_from("home/+/light")?, "hall panel", ());
//! subscriptions.insert(&TopicFilter::try_from("home/#")?, "recorder", ());
//! subscriptions.insert(&TopicFilter::try_from("home/attic/light")?, "lamp", ());
//!
//! let name = TopicName::try_from("home/attic/light")?;
//! let mut receivers = Vec::new();
//! subscriptions.matches(name.as_bytes(), |who, ()| receivers.push(*who));
//! receivers.sort_unstable();
//! assert_eq!(receivers, ["hall panel", "lamp", "recorder"]);
//!
//! // What was published where this filter looks?
//! let mut retained = NameIndex::new();
//! retained.insert((name.clone(), "on"));
//! let mut cursor = retained.cursor(&TopicFilter::try_from("home/#")?);
//! assert_eq!(cursor.next(&retained), Some(&(name, "on")));
//! assert_eq!(cursor.next(&retained), None);
//!
//! // What a client may ask for is read with one call.
//! let filter = SubscriptionFilter::try_from("$share/consumers/home/#")?;
//! assert_eq!(filter.topic_filter(), &"home/#");
//! assert!(SubscriptionFilter::try_from("home/a#").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it is not
//!
//! It knows no packets, sessions or clients: an index stores the caller's keys and values. It takes
//! no locks and starts no threads; to share an index is the caller's business. It changes no text:
//! names that look the same but are spelt with other code points stay different, as the standard
//! demands.
//!
//! # Limits
//!
//! - Text has at most 65,535 bytes. Control characters and non-characters are refused unless
//!   [`TextRules`] let them through; U+0000 and surrogates always are.
//! - An index holds fewer than 2³² trie nodes, and fewer than 2³² keys per filter.
//! - Levels are bounded by the length alone: whoever serves strangers bounds the levels of a filter
//!   ([`TopicFilter::level_count`]) and the filters of a client. What many filters with `+` can do
//!   to a lookup is said at [`FilterIndex`].
//! - A lookup in a [`FilterIndex`] allocates nothing. A [`NameCursor`] owns a copy of one name.
//!
//! # Features
//!
//! The crate needs `alloc` alone. The feature `std`, on by default, adds that each index takes the
//! keys of its hash from the operating system: see [`KeyedState`] for what to do without.
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
pub use crate::names::{NameCursor, NameIndex, NameIter, Named, Replay};
pub use crate::shared::{SharedFilter, SubscriptionFilter};
pub use crate::text::{InvalidText, TEXT_BYTES_MAX, Text, TextRules, check_text};
