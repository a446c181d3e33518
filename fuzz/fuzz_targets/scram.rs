//! Two messages of a SCRAM client: what stands before the first U+0000, and what stands behind it.
//!
//! `{nonce}` in the second stands for the nonce that the server answered with, which no input could know.

#![no_main]

use std::sync::OnceLock;

use dunlin_auth::{
    PasswordFile, PasswordFileOptions, PasswordHash, SCRAM_MESSAGE_BYTES_MAX, SCRAM_METHOD, User,
    Users, Verifier, Workers, WorkersOptions,
};
use dunlin_broker::{AuthRequest, Authenticator, Decision, Peer, Version};
use libfuzzer_sys::fuzz_target;

struct Server {
    file: PasswordFile,
    runtime: tokio::runtime::Runtime,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        let mut users = Users::default();
        let mut user = User::new("user").expect("a name");
        user.password = PasswordHash::LOCKED;
        user.scram = Some(Verifier::make("pencil").expect("a password"));
        users.put(user);
        users.write(&path).expect("written");
        let workers = Workers::start(WorkersOptions::default()).expect("threads");
        let file = PasswordFile::open(path, PasswordFileOptions::default(), workers);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Server { file: file.expect("legal"), runtime }
    })
}

fuzz_target!(|input: &[u8]| {
    let mut messages = input.splitn(2, |byte| *byte == 0);
    let first = messages.next().unwrap_or_default();
    let last = messages.next().unwrap_or_default();
    let (decision, mut request) = ask(request(first));
    let (answer, state) = match decision {
        Decision::Continue { data, state } => (data.expect("a message"), state),
        Decision::Refuse(_) | Decision::PassOn => return,
        Decision::Accept { .. } => panic!("nobody is proven by one message"),
    };
    assert!(first.len() <= SCRAM_MESSAGE_BYTES_MAX);
    let answer = std::str::from_utf8(&answer).expect("text");
    let nonce = answer.strip_prefix("r=").and_then(|rest| rest.split(',').next()).expect("a nonce");
    let first = std::str::from_utf8(first).expect("only text is answered");
    let sent = first.split(',').find_map(|part| part.strip_prefix("r="));
    assert!(sent.is_some_and(|sent| nonce.starts_with(sent) && nonce.len() > sent.len()));

    let last = String::from_utf8_lossy(last).replace("{nonce}", nonce);
    request.data = Some(last.into_bytes().into());
    request.state = Some(state);
    match ask(request).0 {
        Decision::Refuse(_) | Decision::PassOn => {}
        Decision::Accept { .. } | Decision::Continue { .. } => panic!("nobody knows the password"),
    }
});

fn ask(request: AuthRequest) -> (Decision, AuthRequest) {
    let Server { file, runtime } = server();
    let step = runtime.block_on(file.authenticate(request));
    (step.decision, step.request)
}

fn request(data: &[u8]) -> AuthRequest {
    AuthRequest {
        client_id: "c".to_owned(),
        version: Version::V5,
        address: None,
        listener: "l".to_owned(),
        peer: Peer::default(),
        user_name: None,
        password: None,
        method: Some(SCRAM_METHOD.to_owned()),
        data: Some(data.to_vec().into()),
        reauthentication: false,
        state: None,
    }
}
