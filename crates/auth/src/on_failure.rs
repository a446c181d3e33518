//! What becomes of clients while what is asked about them does not answer.

use dunlin_broker::{Decision, Identity, ReasonCode};

/// What becomes of a client that a service or a database was to judge and did not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// It is refused (0x88): nobody comes in by this step while that fails.
    #[default]
    Refuse,
    /// The next step is asked. Where there is none, the client is refused.
    PassOn,
    /// It comes in under the User Name that it gives, unproven, without tenant, roles and attributes; without a User Name as
    /// an anonymous client. For installations to which it is worse that nobody is let in.
    Accept,
}

impl OnFailure {
    /// What holds of a client that gives this User Name.
    pub(crate) fn decision(self, named: Option<&str>) -> Decision {
        let identity = match self {
            Self::Refuse => return Decision::Refuse(ReasonCode::ServerUnavailable),
            Self::PassOn => return Decision::PassOn,
            Self::Accept => named.map_or_else(Identity::anonymous, Identity::named),
        };
        Decision::Accept { identity, data: None }
    }
}
