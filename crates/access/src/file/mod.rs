//! The file of rules: TOML, read strictly, and written so that it reads back.

mod read;
mod write;

pub use read::parse_rules;
pub(crate) use write::quoted;
pub use write::write_rules;

/// The most bytes of a file of rules. A longer one is refused unread.
pub const RULES_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The keys of whoever rules are about.
const PUBLISH: &str = "publish";
const SUBSCRIBE: &str = "subscribe";
const DENY_PUBLISH: &str = "deny_publish";
const DENY_SUBSCRIBE: &str = "deny_subscribe";
/// The roles that somebody is given, and the roles that a file defines.
const ROLES: &str = "roles";

const EVERYONE: &str = "everyone";
const ANONYMOUS: &str = "anonymous";
const AUTHENTICATED: &str = "authenticated";
const USERS: &str = "users";
const CLIENTS: &str = "clients";
const TENANTS: &str = "tenants";

const OVERLAP: &str = "overlap";
const REFUSED_PUBLISH: &str = "refused_publish";
const REFUSED_SUBSCRIBE_3_1: &str = "refused_subscribe_3_1";

/// Of a rule that is more than a filter.
const FILTER: &str = "filter";
const QOS_MAX: &str = "qos_max";
const RETAIN: &str = "retain";
