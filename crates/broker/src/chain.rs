//! Asking: the authenticators of a listener one after the other, and the guards around them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dunlin_codec::ReasonCode;

use crate::config::{Config, InvalidConfig, ListenerConfig};
use crate::hooks::{Guarded, guarded};
use crate::metrics::{Counters, add};
use crate::policy::{AuthRequest, Authenticator, Decision, Identity, Login, LoginGuard, Step};
use crate::server::ServerError;

/// An authenticator under the name by which listeners ask for it.
#[derive(Clone)]
struct Named {
    name: Arc<str>,
    authenticator: Arc<dyn Authenticator>,
}

/// Everything that was set up to know clients by.
#[derive(Clone, Default)]
pub struct Authenticators {
    /// In the order in which they are asked where a listener says nothing.
    all: Vec<Named>,
    guards: Vec<Arc<dyn LoginGuard>>,
}

impl fmt::Debug for Authenticators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|step| &step.name)).finish()
    }
}

impl Authenticators {
    /// Adds an authenticator, to be asked after those added before, under the name by which listeners ask for it and logs
    /// speak of it. Of two with one name, listeners mean the first.
    pub fn add(&mut self, name: &str, authenticator: Arc<dyn Authenticator>) {
        self.all.push(Named { name: name.into(), authenticator });
    }

    /// Lets this look at every login on every listener, after those added before.
    pub fn add_guard(&mut self, guard: Arc<dyn LoginGuard>) {
        self.guards.push(guard);
    }

    fn named(&self, name: &str) -> Option<&Named> {
        self.all.iter().find(|each| *each.name == *name)
    }

    /// Those that `listener` asks. Names that nobody has were refused by [`Authenticators::check`].
    pub(crate) fn chain(&self, listener: &ListenerConfig) -> Chain {
        let steps = match &listener.authentication {
            None => self.all.clone(),
            Some(names) => names.iter().filter_map(|name| self.named(name)).cloned().collect(),
        };
        Chain { steps, guards: self.guards.clone() }
    }

    /// A listener can only ask whom there is, and one that others can reach must say whom it lets in.
    pub(crate) fn check(&self, config: &Config) -> Result<(), ServerError> {
        for listener in &config.listeners {
            let mut names = listener.authentication.iter().flatten();
            if names.any(|name| self.named(name).is_none()) {
                let setting = format!("listeners.{}.authentication", listener.name);
                let reason = "names an authenticator that is not there";
                return Err(InvalidConfig::new(setting, reason).into());
            }
            let asks_nobody = self.chain(listener).is_empty();
            if asks_nobody && !listener.is_local() && !listener.allow_anonymous {
                let (name, address) = (listener.name.clone(), listener.address.clone());
                return Err(ServerError::Unprotected { name, address });
            }
        }
        Ok(())
    }
}

/// What a listener asks about a client.
#[derive(Default)]
pub(crate) struct Chain {
    steps: Vec<Named>,
    guards: Vec<Arc<dyn LoginGuard>>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.name)).finish()
    }
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Judges one step of a client where no authenticator has to be waited for; none where there is one.
    pub(crate) fn judge_at_once(
        &self,
        counters: &Counters,
        allow_anonymous: bool,
        request: &AuthRequest,
    ) -> Option<Decision> {
        if !self.is_empty() {
            return None;
        }
        Some(self.not_admitted(counters, request).unwrap_or_else(|| {
            let decision = without_answer(false, allow_anonymous, request);
            self.decided(counters, "", decision, request)
        }))
    }

    /// Judges one step of a client. No answer in `deadline` is a refusal, and so is a panic.
    pub(crate) async fn judge(
        &self,
        counters: &Counters,
        deadline: Duration,
        allow_anonymous: bool,
        request: AuthRequest,
    ) -> Decision {
        if let Some(refused) = self.not_admitted(counters, &request) {
            return refused;
        }
        match tokio::time::timeout(deadline, self.ask(counters, allow_anonymous, request)).await {
            Ok(decision) => decision,
            Err(_) => {
                add(&counters.logins_late, 1);
                Decision::Refuse(ReasonCode::ServerBusy)
            }
        }
    }

    /// What a guard says that does not let the client be judged.
    fn not_admitted(&self, counters: &Counters, request: &AuthRequest) -> Option<Decision> {
        // What an exchange has begun with was admitted, and who is connected already too.
        if request.state.is_some() || request.reauthentication {
            return None;
        }
        let asked = |guard: &Arc<dyn LoginGuard>| guarded(|| guard.admit(request));
        let refused = self
            .guards
            .iter()
            .find_map(|guard| asked(guard).unwrap_or(Err(ReasonCode::UnspecifiedError)).err())?;
        add(&counters.logins_not_admitted, 1);
        Some(Decision::Refuse(refused))
    }

    /// Asks each authenticator in turn.
    async fn ask(
        &self,
        counters: &Counters,
        allow_anonymous: bool,
        mut request: AuthRequest,
    ) -> Decision {
        for Named { name, authenticator } in &self.steps {
            let Some(step) = Guarded(authenticator.authenticate(request)).await else {
                add(&counters.hook_panics, 1);
                return Decision::Refuse(ReasonCode::UnspecifiedError);
            };
            let Step { decision, request: asked } = step;
            request = asked;
            match decision {
                Decision::PassOn => {}
                decided @ (Decision::Accept { .. }
                | Decision::Refuse(_)
                | Decision::Continue { .. }) => {
                    return self.decided(counters, name, decided, &request);
                }
            }
        }
        let decision = without_answer(!self.is_empty(), allow_anonymous, &request);
        self.decided(counters, "", decision, &request)
    }

    /// Counts what came of it and tells the guards.
    fn decided(
        &self,
        counters: &Counters,
        by: &str,
        decision: Decision,
        request: &AuthRequest,
    ) -> Decision {
        let outcome = match &decision {
            Decision::Accept { identity, .. } => Ok(identity),
            Decision::Refuse(reason) => Err(*reason),
            Decision::PassOn | Decision::Continue { .. } => return decision,
        };
        if outcome.is_err() {
            add(&counters.logins_refused, 1);
        }
        let login = Login { request, by, outcome };
        for guard in &self.guards {
            if guarded(|| guard.judged(&login)).is_none() {
                add(&counters.hook_panics, 1);
            }
        }
        decision
    }
}

/// What holds where no authenticator had an answer.
fn without_answer(asked: bool, allow_anonymous: bool, request: &AuthRequest) -> Decision {
    // [MQTT-4.12.0-1] An authentication method nobody supports is refused.
    if request.method.is_some() {
        return Decision::Refuse(ReasonCode::BadAuthenticationMethod);
    }
    let shown = request.user_name.is_some() || request.password.is_some();
    // Credentials that were judged and that nobody knows are wrong ones, wherever anonymous clients are welcome.
    if allow_anonymous && !(asked && shown) {
        // A name that nobody checked is no identity: it is kept as what it is, something the client says.
        let said = request.user_name.iter().map(|name| ("user_name".to_owned(), name.clone()));
        let identity = Identity { attributes: said.collect(), ..Identity::anonymous() };
        return Decision::Accept { identity, data: None };
    }
    if shown {
        return Decision::Refuse(ReasonCode::BadUserNameOrPassword);
    }
    Decision::Refuse(ReasonCode::NotAuthorized)
}

#[cfg(test)]
mod tests {
    use dunlin_codec::Version;
    use parking_lot::Mutex;

    use super::*;

    /// Lets nobody called `not-me` in, and notes who was judged and how.
    #[derive(Default)]
    struct Guard(Mutex<Vec<(String, bool)>>);

    impl LoginGuard for Guard {
        fn admit(&self, request: &AuthRequest) -> Result<(), ReasonCode> {
            if request.client_id == "not-me" { Err(ReasonCode::ServerBusy) } else { Ok(()) }
        }

        fn judged(&self, login: &Login<'_>) {
            self.0.lock().push((login.request.client_id.clone(), login.outcome.is_ok()));
        }
    }

    fn request(client_id: &str, user_name: Option<&str>, method: Option<&str>) -> AuthRequest {
        AuthRequest {
            client_id: client_id.to_owned(),
            version: Version::V5,
            address: None,
            peer: dunlin_transport::Peer::default(),
            listener: "l".to_owned(),
            user_name: user_name.map(str::to_owned),
            password: None,
            method: method.map(str::to_owned),
            data: None,
            reauthentication: false,
            state: None,
        }
    }

    /// What would be waited for without anybody to wait for comes to the same as what is said at once.
    #[tokio::test]
    async fn where_nobody_has_to_be_asked_the_answer_is_there_at_once() {
        let guard = Arc::new(Guard::default());
        let chain = Chain { steps: Vec::new(), guards: vec![guard.clone()] };
        let counters = Counters::up_to(1);
        let cases = [
            ("a", None, None, true),
            ("b", None, None, false),
            ("c", Some("user"), None, true),
            ("d", Some("user"), None, false),
            ("e", None, Some("method"), true),
            ("not-me", None, None, true),
        ];
        let mut said = Vec::new();
        for (client_id, user_name, method, anonymous) in cases {
            let asked = || request(client_id, user_name, method);
            let at_once = chain.judge_at_once(&counters, anonymous, &asked()).expect("at once");
            let waited = chain.judge(&counters, Duration::from_secs(1), anonymous, asked()).await;
            assert_eq!(format!("{at_once:?}"), format!("{waited:?}"), "{client_id}");
            said.push(match at_once {
                Decision::Accept { .. } => ReasonCode::Success,
                Decision::Refuse(reason) => reason,
                Decision::PassOn | Decision::Continue { .. } => panic!("not decided"),
            });
        }
        assert_eq!(
            said,
            [
                ReasonCode::Success,
                ReasonCode::NotAuthorized,
                ReasonCode::Success,
                ReasonCode::BadUserNameOrPassword,
                ReasonCode::BadAuthenticationMethod,
                ReasonCode::ServerBusy,
            ]
        );
        let judged = [("a", true), ("b", false), ("c", true), ("d", false), ("e", false)];
        let judged = judged.map(|(client_id, ok)| (client_id.to_owned(), ok));
        assert_eq!(
            *guard.0.lock(),
            judged.iter().flat_map(|one| [one.clone(), one.clone()]).collect::<Vec<_>>()
        );
    }
}
