//! Limits that are set in several places: the tightest counts, and says where it was set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Rate;

/// Where a limit was set.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Scope {
    /// For the whole broker.
    Broker,
    /// For a listener.
    Listener(Arc<str>),
    /// For a tenant.
    Tenant(Arc<str>),
    /// For whoever has a role.
    Role(Arc<str>),
    /// For a user.
    User(Arc<str>),
    /// For a client.
    Client(Arc<str>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("the broker"),
            Self::Listener(name) => write!(f, "listener {name}"),
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::Role(name) => write!(f, "role {name}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// A limit in force, and where it was set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit<T> {
    /// The limit.
    pub value: T,
    /// Where it was set: of several places with the same value, the first that was asked.
    pub scope: Scope,
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, set for {}", self.value, self.scope)
    }
}

/// How the tighter of two limits is found.
trait Tighten: Copy {
    /// Whether `self` is tighter than `other`.
    fn is_tighter_than(&self, other: &Self) -> bool;

    /// What holds where both hold: `self`, which is the tighter.
    fn within(self, _other: Self) -> Self {
        self
    }
}

impl Tighten for u64 {
    fn is_tighter_than(&self, other: &Self) -> bool {
        self < other
    }
}

impl Tighten for Duration {
    fn is_tighter_than(&self, other: &Self) -> bool {
        self < other
    }
}

/// The slower rate is the tighter; the smaller burst holds with it.
impl Tighten for Rate {
    fn is_tighter_than(&self, other: &Self) -> bool {
        self.is_slower_than(other)
    }

    fn within(self, other: Self) -> Self {
        self.with_burst(self.burst().min(other.burst()))
    }
}

fn tighten<T: Tighten>(limit: &mut Option<Limit<T>>, value: Option<T>, scope: &Scope) {
    let Some(value) = value else { return };
    let tighter = |value| Some(Limit { value, scope: scope.clone() });
    match limit {
        Some(before) if value.is_tighter_than(&before.value) => {
            let value = value.within(before.value);
            *limit = tighter(value);
        }
        Some(before) => before.value = before.value.within(value),
        None => *limit = tighter(value),
    }
}

macro_rules! quotas {
    ($($(#[doc = $about:literal])+ $name:ident: $type:ty,)+) => {
        /// Limits as they are set in one place. What is none is not limited there.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct Quotas {
            $($(#[doc = $about])+ pub $name: Option<$type>,)+
            /// The least Keep Alive. A client that asks for less is told this one, or refused where it cannot be told.
            pub keep_alive_min: Option<Duration>,
        }

        /// What is in force for a client: of each limit the tightest, and where it was set.
        #[derive(Clone, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct EffectiveQuotas {
            $($(#[doc = $about])+ pub $name: Option<Limit<$type>>,)+
            /// The least Keep Alive: of several the greatest.
            pub keep_alive_min: Option<Limit<Duration>>,
        }

        impl Quotas {
            /// These limits, and where they say nothing those of another place.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self {
                    $($name: self.$name.or(other.$name),)+
                    keep_alive_min: self.keep_alive_min.or(other.keep_alive_min),
                }
            }
        }

        impl EffectiveQuotas {
            fn tighten(&mut self, scope: &Scope, quotas: &Quotas) {
                $(tighten(&mut self.$name, quotas.$name, scope);)+
                let Some(value) = quotas.keep_alive_min else { return };
                if self.keep_alive_min.as_ref().is_none_or(|before| before.value < value) {
                    self.keep_alive_min = Some(Limit { value, scope: scope.clone() });
                }
            }
        }
    };
}

quotas! {
    /// Connections at a time, of all in the scope together: of all clients of a user, a tenant, a listener. A role's counts
    /// for each user that has it.
    connections: u64,
    /// Connections made, together as above.
    connects: Rate,
    /// Messages from the clients of the scope, together as above.
    messages_in: Rate,
    /// Bytes from the clients of the scope, together as above.
    bytes_in: Rate,
    /// Messages to the clients of the scope, together as above.
    messages_out: Rate,
    /// Bytes to the clients of the scope, together as above.
    bytes_out: Rate,
    /// Retained messages that the scope's clients have published, together as above.
    retained_messages: u64,
    /// Their bytes.
    retained_bytes: u64,
    /// Subscriptions of a session.
    subscriptions: u64,
    /// Levels of a filter.
    filter_levels: u64,
    /// Bytes of a Topic Name.
    topic_bytes: u64,
    /// Messages waiting for a session.
    queue_messages: u64,
    /// Bytes waiting for a session.
    queue_bytes: u64,
    /// Bytes of a packet from a client.
    packet_bytes: u64,
    /// QoS 1 and 2 messages to a client that it has not acknowledged.
    inflight: u64,
    /// The greatest Keep Alive. Counts before `keep_alive_min` where the two contradict each other.
    keep_alive_max: Duration,
    /// The longest Session Expiry Interval.
    session_expiry_max: Duration,
}

impl EffectiveQuotas {
    /// Takes of each limit the tightest of all places that a client belongs to.
    ///
    /// ```
    /// use dunlin_access::{EffectiveQuotas, Quotas, Scope};
    ///
    /// let mut broker = Quotas::default();
    /// broker.subscriptions = Some(1_000);
    /// let mut tenant = Quotas::default();
    /// tenant.subscriptions = Some(50);
    /// let scopes = [(Scope::Broker, &broker), (Scope::Tenant("acme".into()), &tenant)];
    /// let limit = EffectiveQuotas::tightest(scopes).subscriptions.expect("there is one");
    /// assert_eq!(limit.to_string(), "50, set for tenant acme");
    /// ```
    #[must_use]
    pub fn tightest<'a>(places: impl IntoIterator<Item = (Scope, &'a Quotas)>) -> Self {
        let mut all = Self::default();
        for (scope, quotas) in places {
            all.tighten(&scope, quotas);
        }
        // The two must not leave a client without any Keep Alive that would do.
        if let (Some(min), Some(max)) = (&mut all.keep_alive_min, &all.keep_alive_max)
            && min.value > max.value
        {
            *min = max.clone();
        }
        all
    }
}
