//! What clients of the greenhouse may do: the hooks that the broker calls.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_broker::{BoxFuture, Client, ConnectionEnd, Hooks, Interests, Message, ReasonCode};

/// Sensors report below `sensors/`, and only the controller speaks below `commands/`.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Reports that made no sense.
    pub(crate) refused: AtomicU64,
    connected: AtomicU64,
}

impl Hooks for Rules {
    fn interests(&self) -> Interests {
        let mut interests = Interests::NONE;
        interests.connect = true;
        interests.publish = true;
        interests.disconnect = true;
        interests
    }

    fn on_connect<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), ReasonCode>> {
        self.connected.fetch_add(1, Ordering::Relaxed);
        let from = client
            .address
            .map_or_else(|| "this process".to_owned(), |address: SocketAddr| address.to_string());
        crate::say(&format!("{} came in from {from}", client.client_id));
        Box::pin(std::future::ready(Ok(())))
    }

    fn on_publish(&self, client: &Client, message: &mut Message) -> Result<(), ReasonCode> {
        let is_ours = client.address.is_none();
        let topic = message.topic.as_str();
        let verdict = match topic.split_once('/') {
            Some(("sensors", _)) if celsius(&message.payload).is_none() => {
                Err(ReasonCode::PayloadFormatInvalid)
            }
            Some(("sensors", _)) => Ok(()),
            Some(("commands", _)) if is_ours => Ok(()),
            _ => Err(ReasonCode::NotAuthorized),
        };
        if verdict.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    fn on_disconnect(&self, end: &ConnectionEnd) {
        crate::say(&format!("{} left: {}", end.client_id, end.reason.name()));
    }
}

/// A report's temperature, if it is one.
pub(crate) fn celsius(payload: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(payload).ok()?.trim().parse().ok()?;
    (-90.0..=90.0).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures() {
        assert_eq!(celsius(b"21.5\n"), Some(21.5));
        for nonsense in [&b"warm"[..], b"", b"NaN", b"400", b"\xff"] {
            assert_eq!(celsius(nonsense), None);
        }
    }
}
