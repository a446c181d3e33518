//! A source that does what a test wants, asked as any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dunlin_broker::{AuthRequest, Authenticator, Decision, Identity, Peer, Version};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::*;
use crate::{OnFailure, PasswordHash, Workers, WorkersOptions};

type Reply = Result<Found, SourceError>;

/// Hands each question to the test, which answers it when it likes.
struct Asked {
    questions: mpsc::UnboundedSender<(Question, oneshot::Sender<Reply>)>,
    /// Connections that are still to be had.
    connections: Semaphore,
    opened: Arc<AtomicUsize>,
    by_connection: bool,
}

impl UserSource for Asked {
    /// The number of this one.
    type Connection = usize;

    fn name(&self) -> String {
        "asked".to_owned()
    }

    fn is_about_connection(&self) -> bool {
        self.by_connection
    }

    async fn connect(&self) -> Result<usize, SourceError> {
        match self.connections.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(SourceError::new(SourceFailure::Connect, "nobody is there")),
        }
        Ok(self.opened.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn look_up(&self, _: &mut usize, question: &Question) -> Reply {
        let (answer, answered) = oneshot::channel();
        let _ = self.questions.send((question.clone(), answer));
        answered.await.unwrap_or_else(|_| Err(broken()))
    }
}

fn broken() -> SourceError {
    SourceError::new(SourceFailure::Broken, "it went away")
}

struct Test {
    step: Arc<Lookup<Asked>>,
    questions: mpsc::UnboundedReceiver<(Question, oneshot::Sender<Reply>)>,
    opened: Arc<AtomicUsize>,
}

fn test(options: LookupOptions) -> Test {
    test_about(options, false)
}

fn test_about(options: LookupOptions, by_connection: bool) -> Test {
    let (questions, received) = mpsc::unbounded_channel();
    let opened = Arc::new(AtomicUsize::new(0));
    let source = Asked {
        questions,
        connections: Semaphore::new(3),
        opened: Arc::clone(&opened),
        by_connection,
    };
    let workers = Workers::start(WorkersOptions::default()).expect("threads");
    Test { step: Arc::new(Lookup::new(source, options, workers)), questions: received, opened }
}

impl Test {
    /// A login of this client, to which the source says one thing after the other.
    async fn login(&mut self, request: AuthRequest, replies: Vec<Reply>) -> String {
        let step = Arc::clone(&self.step);
        let login = tokio::spawn(async move { step.authenticate(request).await.decision });
        for reply in replies {
            let (_, answer) = self.questions.recv().await.expect("a question");
            answer.send(reply).expect("somebody waits");
        }
        words(login.await.expect("no panic"))
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

fn words(decision: Decision) -> String {
    match decision {
        Decision::Accept { identity, data } => {
            assert_eq!(data, None);
            format!("accept {} {:?} {:?}", identity.user, identity.tenant, identity.roles)
        }
        Decision::Refuse(reason) => format!("refuse {:#x}", reason as u8),
        Decision::PassOn => "pass on".to_owned(),
        Decision::Continue { .. } => "continue".to_owned(),
    }
}

fn request(name: Option<&str>, password: Option<&[u8]>) -> AuthRequest {
    AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V5,
        address: Some("192.0.2.7:40000".parse().expect("an address")),
        listener: "outside".to_owned(),
        peer: Peer::default(),
        user_name: name.map(str::to_owned),
        password: password.map(Bytes::copy_from_slice),
        method: None,
        data: None,
        reauthentication: false,
        state: None,
    }
}

fn alice(password: &str) -> AuthRequest {
    request(Some("alice"), Some(password.as_bytes()))
}

fn record() -> Reply {
    let mut draft = RecordDraft::default();
    let hash =
        PasswordHash::make_with(argon2::Params::new(8, 1, 1, Some(32)).expect("legal"), b"secret");
    draft.field("password_hash", &hash.expect("made").to_string())?;
    draft.field("tenant", "north")?;
    draft.field("roles", "reader, writer")?;
    draft.record("alice").map(Found::Record)
}

fn uncached() -> LookupOptions {
    LookupOptions { cache_entries_max: 0, ..LookupOptions::default() }
}

const IN: &str = "accept alice Some(\"north\") [\"reader\", \"writer\"]";

#[tokio::test]
async fn a_record_lets_in_by_its_password_alone() {
    let mut test = test(uncached());
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.login(alice("wrong"), vec![record()]).await, "refuse 0x86");
    assert_eq!(test.login(alice("secret"), vec![Ok(Found::Nobody)]).await, "pass on");
    let locked = RecordDraft::default().record("alice").map(Found::Record);
    assert_eq!(test.login(alice("secret"), vec![locked]).await, "refuse 0x86");
    assert_eq!(test.login(alice("x"), vec![Ok(Found::Disproven)]).await, "refuse 0x86");
    let proven = Ok(Found::Proven(Identity::named("al")));
    assert_eq!(test.login(alice("x"), vec![proven]).await, "accept al None []");
    assert_eq!(test.opened(), 1, "one connection is enough for all of them");

    let strict = LookupOptions { unknown_user: UnknownUser::Refuse, ..uncached() };
    let mut test = self::test(strict);
    assert_eq!(test.login(alice("secret"), vec![Ok(Found::Nobody)]).await, "refuse 0x86");
}

#[tokio::test]
async fn a_hash_is_computed_for_who_is_not_there_too() {
    let (questions, mut received) = mpsc::unbounded_channel();
    let source = Asked {
        questions,
        connections: Semaphore::new(1),
        opened: Arc::default(),
        by_connection: false,
    };
    let workers = Workers::start(WorkersOptions::default()).expect("threads");
    let step = Arc::new(Lookup::new(source, uncached(), workers.clone()));
    let locked = || RecordDraft::default().record("alice").map(Found::Record);
    for (index, reply) in [record(), Ok(Found::Nobody), locked()].into_iter().enumerate() {
        let asked = Arc::clone(&step);
        let login = tokio::spawn(async move { asked.authenticate(alice("wrong")).await });
        let (_, answer) = received.recv().await.expect("a question");
        answer.send(reply).expect("somebody waits");
        login.await.expect("no panic");
        assert_eq!(workers.counts().computed, index as u64 + 1);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_passed_on_unasked() {
    let mut test = test(uncached());
    let by_method = AuthRequest { method: Some("JWT".to_owned()), ..alice("secret") };
    let long = vec![b'x'; crate::PASSWORD_BYTES_MAX + 1];
    for request in [
        by_method,
        request(None, Some(b"secret")),
        request(Some(""), Some(b"secret")),
        request(Some("alice"), None),
        request(Some("alice"), Some(b"")),
        request(Some("alice"), Some(&long)),
    ] {
        assert_eq!(test.login(request, vec![]).await, "pass on");
    }
    assert!(test.questions.try_recv().is_err());
}

#[tokio::test]
async fn an_outage_is_answered_as_the_options_say_and_a_bad_answer_never_opens() {
    let cases = [
        (OnFailure::Refuse, "refuse 0x88"),
        (OnFailure::PassOn, "pass on"),
        (OnFailure::Accept, "accept alice None []"),
    ];
    for (on_failure, expected) in cases {
        let mut test = test(LookupOptions { on_failure, ..uncached() });
        for failure in SourceFailure::ALL {
            let fails = || Err(SourceError::new(failure, "on purpose"));
            // The first connection is new, so that nothing is tried again.
            let outcome = test.login(alice("secret"), vec![fails()]).await;
            let expected = if failure.is_outage() { expected } else { "refuse 0x88" };
            assert_eq!(outcome, expected, "{failure:?}");
            assert_eq!(test.step.failed(failure), 1);
            if test.opened() == 3 {
                test = self::test(LookupOptions { on_failure, ..uncached() });
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_broke_while_nobody_used_it_is_made_again() {
    let mut test = test(uncached());
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.login(alice("secret"), vec![Err(broken()), record()]).await, IN);
    assert_eq!(test.opened(), 2);
    // A question that fails for itself is not asked again, and costs its connection.
    let refused = || Err(SourceError::new(SourceFailure::Refused, "no such table"));
    assert_eq!(test.login(alice("secret"), vec![refused()]).await, "refuse 0x88");
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.opened(), 3);
    // Now there are no more.
    assert_eq!(test.login(alice("secret"), vec![Err(broken())]).await, "refuse 0x88");
    assert_eq!(test.step.failed(SourceFailure::Connect), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_finds_no_room_to_wait_is_answered() {
    let options = LookupOptions {
        connections_max: 1,
        waiting_max: 1,
        timeout: Duration::from_secs(5),
        ..uncached()
    };
    let mut test = test(options);
    let login = |step: &Arc<Lookup<Asked>>| {
        let step = Arc::clone(step);
        tokio::spawn(async move { words(step.authenticate(alice("secret")).await.decision) })
    };
    let first = login(&test.step);
    let (_, unanswered) = test.questions.recv().await.expect("the first question");
    let second = login(&test.step);
    tokio::task::yield_now().await;
    assert_eq!(login(&test.step).await.expect("no panic"), "refuse 0x88");
    assert_eq!(test.step.failed(SourceFailure::Crowded), 1);
    // Time goes on by itself while everybody waits.
    assert_eq!(first.await.expect("no panic"), "refuse 0x88");
    assert_eq!(second.await.expect("no panic"), "refuse 0x88");
    assert_eq!(test.step.failed(SourceFailure::Timeout), 2);
    drop(unanswered);
    while test.questions.try_recv().is_ok() {}
    // The connection on which a question is still under way is not used again.
    assert!(test.opened() <= 2);
    let before = test.opened();
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.opened(), before + 1);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_question_and_guessing_displaces_no_user() {
    let mut test = test(LookupOptions { cache_entries_max: 1, ..LookupOptions::default() });
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    for guess in ["1", "2", "3"] {
        assert_eq!(test.login(alice(guess), vec![record()]).await, "refuse 0x86");
    }
    assert_eq!(test.login(alice("3"), vec![]).await, "refuse 0x86");
    assert_eq!(test.login(alice("secret"), vec![]).await, IN);
    assert_eq!(test.step.forgotten(), 2);
    // The Client Identifier is no part of the question here.
    let other = || AuthRequest { client_id: "other".to_owned(), ..alice("secret") };
    assert_eq!(test.login(other(), vec![]).await, IN);
    test.step.forget();
    assert_eq!(test.login(alice("secret"), vec![Ok(Found::Nobody)]).await, "pass on");

    let mut test = test_about(LookupOptions::default(), true);
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.login(other(), vec![Ok(Found::Nobody)]).await, "pass on");
    assert_eq!(test.login(alice("secret"), vec![]).await, IN);
}

#[tokio::test]
async fn failures_are_not_kept() {
    let mut test = test(LookupOptions::default());
    assert_eq!(test.login(alice("secret"), vec![Err(broken())]).await, "refuse 0x88");
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
}

#[test]
fn a_record_is_read_strictly() {
    let mut draft = RecordDraft::default();
    let fields = [
        ("password_hash", "*"),
        ("user_name", "Alice"),
        ("tenant", "north"),
        ("roles", "a,b  c\n,a"),
        ("site", "oslo"),
        ("site", "bergen"),
        ("empty", ""),
        ("tenant", "north"),
        ("tenant", ""),
    ];
    for (name, value) in fields {
        draft.field(name, value).expect(name);
    }
    let mut identity = Identity::named("Alice");
    identity.tenant = Some("north".to_owned());
    identity.roles = ["a", "b", "c"].map(str::to_owned).into();
    identity.attributes = vec![("claims.site".to_owned(), "oslo".to_owned())];
    let expected = Record { password: PasswordHash::LOCKED, identity };
    assert_eq!(draft.record("alice"), Ok(expected));

    let wrong = |fields: &[(&str, &str)]| {
        let mut draft = RecordDraft::default();
        let read = fields.iter().try_for_each(|(name, value)| draft.field(name, value));
        read.and_then(|()| draft.record("alice")).expect_err("refused").to_string()
    };
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let many: Vec<String> = (0..=ROLES_MAX).map(|role| role.to_string()).collect();
    let cases = [
        (
            wrong(&[("tenant", "north"), ("tenant", "south")]),
            "malformed: there are several values of tenant: is it about one user?",
        ),
        (
            wrong(&[("password_hash", "plain")]),
            "malformed: the password_hash of \"alice\" is no password hash: it must begin with $argon2id$, $6$, $7$ or \
             $2b$, or be *",
        ),
        (wrong(&[("site", &long)]), "malformed: \"site\" has more than 1024 bytes, or U+0000"),
        (
            wrong(&[("user_name", "a\0")]),
            "malformed: \"user_name\" has more than 1024 bytes, or U+0000",
        ),
        (wrong(&[("roles", &many.join(","))]), "malformed: there are more than 256 roles"),
    ];
    for (words, expected) in cases {
        assert_eq!(words, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_hang_cost_one_client_its_time_and_not_each() {
    let mut test = test(uncached());
    let mut logins = Vec::new();
    for _ in 0..2 {
        let step = Arc::clone(&test.step);
        logins.push(tokio::spawn(async move {
            words(step.authenticate(alice("secret")).await.decision)
        }));
    }
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(test.questions.recv().await.expect("a question").1);
    }
    for answer in answers {
        answer.send(record()).expect("somebody waits");
    }
    for login in logins {
        assert_eq!(login.await.expect("no panic"), IN);
    }
    assert_eq!(test.opened(), 2);
    // The first one says nothing any more. The other one is not tried either.
    let step = Arc::clone(&test.step);
    let login =
        tokio::spawn(async move { words(step.authenticate(alice("secret")).await.decision) });
    let unanswered = test.questions.recv().await.expect("a question");
    assert_eq!(login.await.expect("no panic"), "refuse 0x88");
    drop(unanswered);
    assert_eq!(test.login(alice("secret"), vec![record()]).await, IN);
    assert_eq!(test.opened(), 3);
}
