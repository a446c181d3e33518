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

    /// Judges one step of a client. No answer in `deadline` is a refusal, and so is a panic.
    pub(crate) async fn judge(
        &self,
        counters: &Counters,
        deadline: Duration,
        allow_anonymous: bool,
        request: AuthRequest,
    ) -> Decision {
        // What an exchange has begun with was admitted, and who is connected already too.
        if request.state.is_none() && !request.reauthentication {
            for guard in &self.guards {
                let admitted = guarded(|| guard.admit(&request));
                if let Err(reason) = admitted.unwrap_or(Err(ReasonCode::UnspecifiedError)) {
                    add(&counters.logins_not_admitted, 1);
                    return Decision::Refuse(reason);
                }
            }
        }
        match tokio::time::timeout(deadline, self.ask(counters, allow_anonymous, request)).await {
            Ok(decision) => decision,
            Err(_) => {
                add(&counters.logins_late, 1);
                Decision::Refuse(ReasonCode::ServerBusy)
            }
        }
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
