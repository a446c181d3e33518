//! What an embedder may observe, change or refuse.
//!
//! Publish, deliver and drop hooks are synchronous and run on the task of the connection concerned; connect and
//! subscribe hooks may wait, at most `hook_deadline`. A hook that is not named in [`Interests`] costs nothing. A hook that
//! panics ends the connection it ran for, and no other.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dunlin_codec::Message;
use dunlin_codec::ReasonCode;
use dunlin_codec::SubscriptionOptions;
use dunlin_codec::Version;
use dunlin_transport::Peer;

use crate::end::ConnectionEnd;
use crate::metrics::DropReason;
use crate::policy::{BoxFuture, Identity};

/// Which hooks are to be called.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interests {
    /// [`Hooks::on_connect`].
    pub connect: bool,
    /// [`Hooks::on_subscribe`].
    pub subscribe: bool,
    /// [`Hooks::on_publish`]. Each message is then decoded one by one, which costs throughput.
    pub publish: bool,
    /// [`Hooks::on_deliver`]. Each copy is then encoded one by one, which costs throughput.
    pub deliver: bool,
    /// [`Hooks::on_drop`].
    pub drop: bool,
    /// [`Hooks::on_disconnect`].
    pub disconnect: bool,
}

impl Interests {
    /// No hook.
    pub const NONE: Self = Self {
        connect: false,
        subscribe: false,
        publish: false,
        deliver: false,
        drop: false,
        disconnect: false,
    };
    /// Every hook.
    pub const ALL: Self = Self {
        connect: true,
        subscribe: true,
        publish: true,
        deliver: true,
        drop: true,
        disconnect: true,
    };
}

/// A client, as hooks see it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Client {
    /// The Client Identifier, which names one client within its tenant.
    pub client_id: String,
    /// The tenant it belongs to; `default` where there are none, and before that is known.
    pub tenant: Arc<str>,
    /// The protocol version.
    pub version: Version,
    /// The peer; none for a publisher or subscriber in this process.
    pub address: Option<SocketAddr>,
    /// What is known of the peer: how it came in, its certificate, what a proxy said.
    pub peer: Peer,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Who it is.
    pub identity: Identity,
}

/// What an embedder may observe, change or refuse. Every method has a default that lets things be.
pub trait Hooks: Send + Sync + 'static {
    /// Which methods are to be called. Asked once, at the start.
    fn interests(&self) -> Interests;

    /// An authenticated client is about to be accepted. An error refuses it with that reason.
    fn on_connect<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), ReasonCode>> {
        let _ = client;
        Box::pin(std::future::ready(Ok(())))
    }

    /// A client is about to be granted a subscription. It may get other options; an error refuses it with that reason.
    fn on_subscribe<'a>(
        &'a self,
        client: &'a Client,
        filter: &'a str,
        options: SubscriptionOptions,
    ) -> BoxFuture<'a, Result<SubscriptionOptions, ReasonCode>> {
        let _ = (client, filter);
        Box::pin(std::future::ready(Ok(options)))
    }

    /// A client publishes. The message may be changed, except that a QoS above the granted one stays as it is; an error
    /// refuses it with that reason: the message goes to nobody and the publisher is told, where its version can tell.
    ///
    /// # Errors
    ///
    /// The reason code that the publisher gets in PUBACK or PUBREC.
    fn on_publish(&self, client: &Client, message: &mut Message) -> Result<(), ReasonCode> {
        let _ = (client, message);
        Ok(())
    }

    /// A message is about to be sent to a client. It may be replaced for this client; `false` drops it.
    fn on_deliver(&self, client: &Client, message: &mut Arc<Message>) -> bool {
        let _ = (client, message);
        true
    }

    /// A copy of a message for `client_id` was dropped. QoS 0 copies dropped in blocks are reported without message.
    fn on_drop(&self, client_id: &str, message: Option<&Message>, reason: DropReason) {
        let _ = (client_id, message, reason);
    }

    /// A Network Connection has ended.
    fn on_disconnect(&self, end: &ConnectionEnd) {
        let _ = end;
    }
}

/// The hooks of an embedder who wants none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
}

/// Runs a hook; none if it panicked.
pub(crate) fn guarded<T>(hook: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(hook)).ok()
}

/// A hook's future; none if it panics.
pub(crate) struct Guarded<'a, T>(pub(crate) BoxFuture<'a, T>);

impl<T> Future for Guarded<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match guarded(|| self.0.as_mut().poll(cx)) {
            Some(Poll::Ready(value)) => Poll::Ready(Some(value)),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}
