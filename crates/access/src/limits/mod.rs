//! How much somebody may do: rates, quotas, bans, flapping and failed logins. Pure: time is an argument, and every table has
//! a bound.

mod ban_file;
mod bans;
mod bucket;
mod flapping;
mod generations;
mod quotas;
mod range;
mod throttle;

pub use ban_file::{BAN_FILE_BYTES_MAX, parse_bans, write_bans};
pub use bans::{Ban, BanList, BanListFull, BanTarget, Named, UnixSeconds, Visitor};
pub use bucket::{Rate, TokenBucket};
pub use flapping::{FLAP_CONNECTS_MAX, FlapDetector, FlapRule};
pub use quotas::{EffectiveQuotas, Limit, Quotas, Scope};
pub use range::{AddressRange, InvalidAddressRange};
pub use throttle::{LoginThrottle, ThrottleRules, Throttled, ThrottledBy};
