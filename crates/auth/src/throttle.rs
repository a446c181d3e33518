//! The brake on guessing: who fails too often has to wait before anybody looks at another password.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dunlin_access::{LoginThrottle, ThrottleRules};
use dunlin_broker::{AuthRequest, Login, LoginGuard, ReasonCode};

use crate::audit;
use crate::mac::{SHA256_BYTES, hmac_of_parts};
use crate::random;

/// Refuses clients whose address, or whose user at their address, has failed too often, before any authenticator is asked.
///
/// Who waits is told Connection rate exceeded (0x9F; 3.x: 3), and does not make its wait longer by trying. Nothing is counted
/// for a name alone, and nothing across addresses: nobody is locked out by what others do elsewhere. What fails without a User
/// Name, by a certificate or a token say, counts for the Client Identifier in its place. Clients of a Unix socket have no
/// address and are never braked. [`LoginThrottle`] says what is remembered, and for how long.
pub struct Throttle {
    failures: Mutex<LoginThrottle>,
    /// Names are kept as what this makes of them: they may be 64 KiB long, and what is remembered must not be.
    key: [u8; SHA256_BYTES],
    refused: AtomicU64,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("refused", &self.refused()).finish_non_exhaustive()
    }
}

impl Throttle {
    /// A brake that nobody has touched yet.
    #[must_use]
    pub fn new(rules: ThrottleRules) -> Self {
        Self {
            failures: Mutex::new(LoginThrottle::new(rules)),
            // Without randomness two names that somebody found to look the same share their failures.
            key: random::bytes().unwrap_or_default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Logins refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, LoginThrottle> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is counted, in 32 characters.
    fn name(&self, request: &AuthRequest) -> String {
        match &request.user_name {
            Some(user) => self.name_of_user(user),
            None => self.name_of("client", &request.client_id),
        }
    }

    /// How a user is counted.
    pub(crate) fn name_of_user(&self, user: &str) -> String {
        self.name_of("user", user)
    }

    fn name_of(&self, kind: &str, name: &str) -> String {
        let tag = hmac_of_parts(&self.key, &[kind.as_bytes(), name.as_bytes()]);
        tag.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether whoever is counted as `name` has to wait at `address` now.
    pub(crate) fn waits(&self, address: IpAddr, name: &str) -> bool {
        self.lock().check(address, name, Instant::now()).is_err()
    }

    /// A login of `user` has failed.
    #[cfg(test)]
    pub(crate) fn failed(&self, address: Option<IpAddr>, user: &str) {
        if let Some(address) = address {
            self.lock().failed(address, &self.name_of_user(user), Instant::now());
        }
    }
}

/// Whether a refusal says that the client is not who it says, rather than that something else is in the way.
const fn is_failure(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::BadAuthenticationMethod
    )
}

/// A client without any is not guessing.
const fn has_credentials(request: &AuthRequest) -> bool {
    request.user_name.is_some() || request.password.is_some() || request.method.is_some()
}

impl LoginGuard for Throttle {
    fn admit(&self, request: &AuthRequest) -> Result<(), ReasonCode> {
        let Some(address) = request.address.filter(|_| has_credentials(request)) else {
            return Ok(());
        };
        let name = self.name(request);
        if self.lock().check(address.ip(), &name, Instant::now()).is_ok() {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(ReasonCode::ConnectionRateExceeded)
    }

    fn judged(&self, login: &Login<'_>) {
        let request = login.request;
        let Some(address) = request.address.filter(|_| has_credentials(request)) else { return };
        let (name, now) = (self.name(request), Instant::now());
        match login.outcome {
            Ok(_) => self.lock().succeeded(address.ip(), &name),
            Err(reason) if is_failure(reason) => {
                let mut failures = self.lock();
                let waited = failures.check(address.ip(), &name, now).is_err();
                failures.failed(address.ip(), &name, now);
                let waits = failures.check(address.ip(), &name, now).is_err();
                drop(failures);
                if waits && !waited {
                    audit::throttled(request);
                }
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dunlin_access::Rate;
    use dunlin_broker::{Identity, Peer, Version};

    use super::*;

    fn throttle() -> Throttle {
        let mut rules = ThrottleRules::default();
        rules.per_address = Rate::new(4, Duration::from_secs(86_400));
        rules.per_address_and_user = Rate::new(2, Duration::from_secs(86_400));
        Throttle::new(rules)
    }

    fn request(address: &str, user: &str) -> AuthRequest {
        let address = Some((address.parse::<IpAddr>().expect("an address"), 7).into());
        AuthRequest {
            client_id: "s".to_owned(),
            version: Version::V5,
            address,
            peer: Peer::default(),
            listener: "test".to_owned(),
            user_name: (!user.is_empty()).then(|| user.to_owned()),
            password: Some("guess".into()),
            method: None,
            data: None,
            reauthentication: false,
            state: None,
        }
    }

    impl Throttle {
        fn may_try(&self, address: &str, user: &str) -> bool {
            self.admit(&request(address, user)).is_ok()
        }

        fn fail(&self, address: &str, user: &str, reason: ReasonCode) {
            self.judged(&Login::new(&request(address, user), "file", Err(reason)));
        }
    }

    const WRONG: ReasonCode = ReasonCode::BadUserNameOrPassword;

    #[test]
    fn a_user_waits_at_its_address_alone_and_is_let_off_when_it_comes_in() {
        let throttle = throttle();
        throttle.fail("192.0.2.1", "alice", WRONG);
        assert!(throttle.may_try("192.0.2.1", "alice"));
        throttle.fail("192.0.2.1", "alice", WRONG);
        assert!(!throttle.may_try("192.0.2.1", "alice"));
        assert!(throttle.may_try("192.0.2.1", "bob") && throttle.may_try("192.0.2.2", "alice"));
        assert_eq!(throttle.refused(), 1);
        let identity = Identity::named("alice");
        throttle.judged(&Login::new(&request("192.0.2.1", "alice"), "file", Ok(&identity)));
        assert!(throttle.may_try("192.0.2.1", "alice"));
    }

    #[test]
    fn an_address_waits_whoever_it_says_it_is() {
        let throttle = throttle();
        for user in ["a", "b", "c", ""] {
            assert!(throttle.may_try("192.0.2.1", user));
            throttle.fail("192.0.2.1", user, WRONG);
        }
        assert!(!throttle.may_try("192.0.2.1", "d") && !throttle.may_try("192.0.2.1", ""));
        assert!(throttle.may_try("192.0.2.2", "d"));
    }

    #[test]
    fn only_wrong_credentials_count() {
        let throttle = throttle();
        for _ in 0..10 {
            throttle.fail("192.0.2.1", "alice", ReasonCode::ServerBusy);
        }
        assert!(throttle.may_try("192.0.2.1", "alice"));
        let mut without = request("192.0.2.1", "");
        without.password = None;
        for _ in 0..10 {
            throttle.judged(&Login::new(&without, "", Err(ReasonCode::NotAuthorized)));
        }
        assert!(throttle.may_try("192.0.2.1", "alice") && throttle.admit(&without).is_ok());
    }
}
