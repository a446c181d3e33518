//! The authenticator of a file of users: by password, or by SCRAM.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_broker::audit::ADMIN_TARGET;
use dunlin_broker::{AuthRequest, Authenticator, BoxFuture, Decision, Identity, ReasonCode, Step};

use crate::cache::{Cache, CacheOptions};
use crate::hash::PASSWORD_BYTES_MAX;
use crate::mac::{SHA256_BYTES, hmac_of_parts};
use crate::random;
use crate::scram::{self, ClientFirst, Exchange, Verifier};
use crate::user::User;
use crate::users::{Stamp, Users, UsersError};
use crate::workers::{Busy, Workers};

/// How a file of users is used.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PasswordFileOptions {
    /// Whether clients may use SCRAM-SHA-256.
    pub scram: bool,
    /// What is remembered of passwords that were checked.
    pub cache: CacheOptions,
    /// How often [`PasswordFile::watch`] looks whether the file has changed.
    pub watch_interval: Duration,
}

impl Default for PasswordFileOptions {
    /// With SCRAM; a look at the file each second.
    fn default() -> Self {
        let watch_interval = Duration::from_secs(1);
        Self { scram: true, cache: CacheOptions::default(), watch_interval }
    }
}

/// Knows clients by a file of users.
///
/// * A user's right password is accepted, a wrong one refused. A name that the file does not have is passed on, after as much
///   work as a wrong password takes.
/// * With the Authentication Method `SCRAM-SHA-256` of MQTT 5.0, a user of whom the file has a verifier is accepted by its
///   proof. Who is not there, or has no verifier, gets a salt and is refused at the end, as one with a wrong password is.
/// * A client without a User Name, or with another method, is passed on.
///
/// Passwords are hashed by [`Workers`], never on a connection's task.
pub struct PasswordFile {
    path: PathBuf,
    options: PasswordFileOptions,
    workers: Workers,
    users: RwLock<Arc<Users>>,
    /// The file as it was read last. Held while it is read.
    stamp: Mutex<Option<Stamp>>,
    cache: Cache,
    /// From which salts for nobody are made where the file has no key.
    decoy_key: [u8; SHA256_BYTES],
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PasswordFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`UsersError`] when it cannot be read or is not understood.
    pub fn open(
        path: impl Into<PathBuf>,
        options: PasswordFileOptions,
        workers: Workers,
    ) -> Result<Self, UsersError> {
        let path = path.into();
        // Before the reading: what is written meanwhile is noticed later.
        let stamp = Stamp::of(&path);
        let users = Users::read(&path)?;
        let cache = Cache::new(options.cache);
        Ok(Self {
            path,
            options,
            workers,
            users: RwLock::new(Arc::new(users)),
            stamp: Mutex::new(stamp),
            cache,
            decoy_key: random::bytes().unwrap_or_default(),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users as they were read last.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again if it has changed, and forgets what was found out about passwords; says whether it did. It
    /// blocks: call it where that harms nobody.
    ///
    /// # Errors
    ///
    /// [`UsersError`] when the file cannot be read or is not understood. The users stay as they were.
    pub fn reload(&self) -> Result<bool, UsersError> {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::of(&self.path);
        if now == *stamp {
            return Ok(false);
        }
        // One failure is one report, and not one each second.
        *stamp = now;
        let users = Arc::new(Users::read(&self.path)?);
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        self.cache.clear();
        Ok(true)
    }

    /// Reloads the file when it changes, until the last other handle on this is gone. To be called on a tokio runtime.
    pub fn watch(self: &Arc<Self>) {
        let (file, interval) = (Arc::downgrade(self), self.options.watch_interval);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(file) = file.upgrade() else { return };
                let looked = tokio::task::spawn_blocking(move || file.reload_and_log());
                if looked.await.is_err() {
                    return;
                }
            }
        });
    }

    fn reload_and_log(&self) {
        let path = self.path.display();
        match self.reload() {
            Ok(false) => {}
            Ok(true) => {
                let users = self.users().len();
                tracing::info!(target: ADMIN_TARGET, event = "users_reloaded", %path, users, "the file of users has changed");
            }
            Err(error) => {
                tracing::error!(target: ADMIN_TARGET, event = "users_not_reloaded", %path, %error, "the users stay as they were");
            }
        }
    }

    async fn by_password(&self, name: &str, password: &Bytes, address: Option<IpAddr>) -> Decision {
        if password.len() > PASSWORD_BYTES_MAX {
            return Decision::PassOn;
        }
        let (known, ticket) = self.cache.look_up(name, password, Instant::now());
        let users = self.users();
        let is_right = match known {
            Some(is_right) => is_right,
            None => match self.check(&users, name, password, address).await {
                Ok(is_right) => {
                    self.cache.remember(&ticket, is_right, Instant::now());
                    is_right
                }
                Err(Busy) => return Decision::Refuse(ReasonCode::ServerBusy),
            },
        };
        match users.user(name) {
            Some(user) if is_right => Decision::Accept { identity: identity(user), data: None },
            Some(_) => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
            None => Decision::PassOn,
        }
    }

    /// Takes as long for a name that the file does not have as for one that it has: what is computed then is the hash of some
    /// user, always the same one for a name, so that unknown names take as many different times as known ones.
    async fn check(
        &self,
        users: &Arc<Users>,
        name: &str,
        password: &Bytes,
        address: Option<IpAddr>,
    ) -> Result<bool, Busy> {
        let is_known = users.user(name).is_some_and(|user| !user.password.is_locked());
        let hashed = if is_known {
            Some(name.to_owned())
        } else {
            self.stand_in(users, name, |user| !user.password.is_locked()).map(str::to_owned)
        };
        let (users, password) = (Arc::clone(users), password.clone());
        let fits = self
            .workers
            .run(address, name, move |scratch| {
                match hashed.as_deref().and_then(|name| users.user(name)) {
                    Some(user) => user.password.verify(&password, scratch),
                    // There is nobody to be told from others.
                    None => false,
                }
            })
            .await?;
        Ok(fits && is_known)
    }

    /// Some user for whom `is_fit` holds, always the same for a name.
    fn stand_in<'a>(
        &self,
        users: &'a Users,
        name: &str,
        is_fit: impl Fn(&User) -> bool,
    ) -> Option<&'a str> {
        users.stand_in(self.decoy(users, "stand-in", name), is_fit).map(User::name)
    }

    /// What nobody can tell from randomness, always the same for a name.
    fn decoy(&self, users: &Users, purpose: &str, name: &str) -> [u8; SHA256_BYTES] {
        let key = users.decoy_key().unwrap_or(&self.decoy_key);
        hmac_of_parts(key, &[purpose.as_bytes(), name.as_bytes()])
    }

    fn by_scram(&self, request: &mut AuthRequest) -> Decision {
        let data = request.data.take().unwrap_or_default();
        match request.state.take().map(|state| state.downcast::<Begun>()) {
            None => self.begin(&data),
            Some(Ok(begun)) => self.finish(*begun, &data, request),
            // The exchange was begun by another authenticator of the same method.
            Some(Err(state)) => {
                request.data = Some(data);
                request.state = Some(state);
                Decision::PassOn
            }
        }
    }

    fn begin(&self, message: &[u8]) -> Decision {
        let Ok(first) = ClientFirst::parse(message) else {
            return Decision::Refuse(ReasonCode::NotAuthorized);
        };
        let Ok(nonce) = scram::server_nonce() else {
            return Decision::Refuse(ReasonCode::UnspecifiedError);
        };
        let users = self.users();
        let user = users.user(&first.user);
        let (is_known, verifier) = match user.and_then(|user| user.scram.clone()) {
            Some(verifier) => (true, verifier),
            None => (false, self.verifier_of_nobody(&users, &first.user)),
        };
        let (exchange, answer) = Exchange::begin(&first, verifier, &nonce);
        let begun = Begun { user: first.user, is_known, exchange };
        Decision::Continue { data: Some(answer.into()), state: Box::new(begun) }
    }

    /// Looks like some user's, always the same for a name, and no password fits.
    fn verifier_of_nobody(&self, users: &Users, name: &str) -> Verifier {
        let salt = self.decoy(users, "salt", name);
        let stand_in = self.stand_in(users, name, |user| user.scram.is_some());
        let model = stand_in.and_then(|name| users.user(name)?.scram.as_ref());
        let (length, iterations) = model.map_or((scram::SALT_BYTES, scram::ITERATIONS), |model| {
            (model.salt.len().min(salt.len()), model.iterations)
        });
        Verifier {
            iterations,
            salt: salt.get(..length).unwrap_or(&salt).into(),
            stored_key: self.decoy(users, "stored key", name),
            server_key: self.decoy(users, "server key", name),
        }
    }

    fn finish(&self, begun: Begun, message: &[u8], request: &mut AuthRequest) -> Decision {
        let Begun { user: name, is_known, exchange } = begun;
        let outcome = exchange.finish(message);
        // For whoever looks at logins: there is no other place that has the name.
        request.user_name = Some(name);
        let users = self.users();
        let user = request.user_name.as_deref().and_then(|name| users.user(name));
        match (outcome, user) {
            (Ok(proof), Some(user)) if is_known => {
                Decision::Accept { identity: identity(user), data: Some(proof.into()) }
            }
            _ => Decision::Refuse(ReasonCode::NotAuthorized),
        }
    }
}

/// What is kept between the two messages of a SCRAM client.
struct Begun {
    user: String,
    /// Whether there is such a user.
    is_known: bool,
    exchange: Exchange,
}

fn identity(user: &User) -> Identity {
    let mut identity = Identity::named(user.name());
    identity.tenant.clone_from(&user.tenant);
    identity.roles.clone_from(&user.roles);
    identity.attributes.clone_from(&user.attributes);
    identity
}

impl Authenticator for PasswordFile {
    fn authenticate(&self, mut request: AuthRequest) -> BoxFuture<'_, Step> {
        Box::pin(async move {
            let decision = match request.method.as_deref() {
                None => match (&request.user_name, &request.password) {
                    (Some(name), Some(password)) => {
                        let address = request.address.map(|address| address.ip());
                        // Copied, since a request cannot be looked at from two threads, and this may change them.
                        let (name, password) = (name.clone(), password.clone());
                        self.by_password(&name, &password, address).await
                    }
                    _ => Decision::PassOn,
                },
                Some(scram::METHOD) if self.options.scram => self.by_scram(&mut request),
                Some(_) => Decision::PassOn,
            };
            Step { decision, request }
        })
    }
}
