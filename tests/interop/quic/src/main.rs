//! MQTT over QUIC: `interop-quic CLIENT VERSION ADDRESS AUTHORITY [CERTIFICATE KEY]` publishes some messages to itself and prints
//! as JSON what came back: topic, QoS, length and the sum of the bytes.
//!
//! CLIENT is `flowsdk`, a library of EMQX, or `own`, a client of ours on quinn; `own:ALPN` asks for that protocol instead of `mqtt`.

mod flowsdk_client;
mod own_client;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// All of it together.
const SECS_MAX: Duration = Duration::from_secs(60);

/// Whom to talk to, and how.
struct Target {
    /// The protocol level of MQTT: 4 or 5.
    level: u8,
    address: SocketAddr,
    /// Who may vouch for the broker: PEM.
    authority: PathBuf,
    /// What the client proves itself with: certificate and key, PEM.
    own: Option<(PathBuf, PathBuf)>,
}

/// A message on its way out or back.
#[derive(Clone)]
struct Message {
    topic: String,
    qos: u8,
    payload: Vec<u8>,
}

fn messages() -> Vec<Message> {
    let message = |topic: &str, qos, payload| Message { topic: topic.to_owned(), qos, payload };
    vec![
        message("doors/text", 0, b"hello".to_vec()),
        message("doors/bytes", 1, (0..=255).collect()),
        message("doors/empty", 1, Vec::new()),
        message("doors/large", 2, (0..200_000_u32).map(|index| (index % 251) as u8).collect()),
    ]
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (client, target) = match &arguments[..] {
        [client, version, address, authority, own @ ..] if matches!(own.len(), 0 | 2) => {
            let level = if version == "5.0" { 5 } else { 4 };
            let own = own.first().zip(own.get(1)).map(|(one, two)| (one.into(), two.into()));
            (client, Target { level, address: address.parse()?, authority: authority.into(), own })
        }
        _ => {
            return Err(
                "usage: interop-quic CLIENT VERSION ADDRESS AUTHORITY [CERTIFICATE KEY]".into()
            );
        }
    };
    let came_back = async {
        match client.split_once(':').unwrap_or((client, "mqtt")) {
            ("flowsdk", _) => flowsdk_client::round_trip(&target, &messages()).await,
            ("own", alpn) => own_client::round_trip(&target, alpn, &messages()).await,
            _ => Err(format!("no such client: {client}").into()),
        }
    };
    let came_back = tokio::time::timeout(SECS_MAX, came_back).await??;
    let shown = came_back.iter().map(|Message { topic, qos, payload }| {
        let sum: u64 = payload.iter().copied().map(u64::from).sum();
        json!([topic, qos, payload.len(), sum])
    });
    println!("{}", json!(shown.collect::<Vec<_>>()));
    Ok(())
}
