//! A TLS stream as a connection's task uses it, against plain oracles: large data both ways, sockets that take little at a
//! time, sides that close by halves, and whatever bytes there are.
#![cfg(feature = "tls")]

mod pki;

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::Poll;

use dunlin_transport::Stream;
use proptest::prelude::*;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use pki::{Authority, Client, Listener, options};

const SERVER: &str = "mqtt.example.org";

/// Bytes that look like nothing, the same each time.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Writes all of `bytes` in slices of these sizes in turn, as a connection's writer does.
async fn write_sliced(stream: &mut Stream, bytes: &[u8], sizes: &[usize]) -> std::io::Result<()> {
    let mut rest = bytes;
    poll_fn(|cx| {
        while !rest.is_empty() {
            let mut slices = Vec::new();
            let mut at = rest;
            for size in sizes.iter().cycle().take(64) {
                let (now, later) = at.split_at((*size).min(at.len()));
                slices.push(IoSlice::new(now));
                at = later;
            }
            match stream.try_write_vectored(&slices) {
                Ok(0) => panic!("nothing was taken and nothing was said"),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match stream.poll_write_ready(cx) {
                        Poll::Ready(ready) => ready?,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        stream.poll_flush(cx)
    })
    .await
}

async fn read_all(stream: &mut Stream, scratch: usize) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut scratch = vec![0; scratch];
    loop {
        match stream.read(&mut scratch).await? {
            0 => return Ok(all),
            count => all.extend(scratch.iter().take(count)),
        }
    }
}

/// What a client has to say and what it hears, with a stop for breath.
async fn echo_less(
    client: impl AsyncRead + AsyncWrite + Unpin,
    says: Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let says = async move {
        writer.write_all(&says).await?;
        writer.shutdown().await
    };
    let hears = async move {
        let mut all = Vec::new();
        let mut scratch = vec![0; 3000];
        loop {
            match reader.read(&mut scratch).await? {
                0 => return Ok(all),
                count => all.extend(scratch.iter().take(count)),
            }
            tokio::task::yield_now().await;
        }
    };
    let (said, heard) = tokio::join!(says, hears);
    said?;
    heard
}

/// Both ways at once, in these slices and reads, each side seeing what the other sent.
async fn exchange(
    listener: &Listener,
    config: ClientConfig,
    bytes: usize,
    shape: (&[usize], usize),
) {
    let (sizes, scratch) = shape;
    let (down, up) = (noise(7, bytes), noise(9, bytes - 1000));
    let (opened, client) = listener.meet(&Arc::new(config), SERVER).await;
    let (mut stream, client) = (opened.expect("good").stream, client.expect("good"));
    let client = tokio::spawn(echo_less(client, up.clone()));
    write_sliced(&mut stream, &down, sizes).await.expect("it is taken");
    let heard = read_all(&mut stream, scratch).await.expect("it arrives");
    assert!(heard == up, "{sizes:?} {scratch}: {} of {}", heard.len(), up.len());
    poll_fn(|cx| stream.poll_shutdown(cx)).await.expect("it is taken");
    let heard = client.await.expect("it runs").expect("it arrives");
    assert!(heard == down, "{sizes:?}: {} of {}", heard.len(), down.len());
}

#[tokio::test]
async fn large_data_arrives_as_it_left() {
    let authority = Authority::new();
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    for version in [&TLS12, &TLS13] {
        let shapes: [(&[usize], usize); 4] = [
            (&[1, 7, 100], 100),
            (&[5, 0, 16 * 1024, 3], 128 * 1024),
            (&[16 * 1024 - 1, 2, 40_000], 1000),
            (&[200_000], 64 * 1024),
        ];
        for shape in shapes {
            let versions = &[version];
            let client = authority.client(Client { versions, ..Client::default() });
            exchange(&listener, client, 600_000, shape).await;
        }
    }
}

/// The kernel takes a few KiB at a time, so that every record is cut somewhere.
#[tokio::test]
async fn data_arrives_as_it_left_through_small_sockets() {
    let authority = Authority::new();
    let mut listener = Listener::new(options(&[&authority.issue(SERVER)]));
    listener.shrink_buffers();
    let client = authority.client(Client::default());
    exchange(&listener, client, 60_000, (&[5, 0, 9000, 3], 2000)).await;
}

#[tokio::test]
async fn a_side_that_has_said_all_still_listens() {
    let authority = Authority::new();
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    let config = Arc::new(authority.client(Client::default()));

    // The client first.
    let (opened, client) = listener.meet(&config, SERVER).await;
    let (mut stream, mut client) = (opened.expect("good").stream, client.expect("good"));
    client.write_all(b"last").await.expect("it is taken");
    client.shutdown().await.expect("it is taken");
    assert_eq!(read_all(&mut stream, 100).await.expect("an end"), b"last");
    assert_eq!(stream.read(&mut [0; 10]).await.expect("still the end"), 0);
    stream.write_all(b"answer").await.expect("it is taken");
    poll_fn(|cx| stream.poll_shutdown(cx)).await.expect("it is taken");
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"answer");

    // The server first: a clean end, and what the client sends after it is read.
    let (opened, client) = listener.meet(&config, SERVER).await;
    let (mut stream, mut client) = (opened.expect("good").stream, client.expect("good"));
    poll_fn(|cx| stream.poll_shutdown(cx)).await.expect("it is taken");
    assert_eq!(client.read(&mut [0; 10]).await.expect("a clean end"), 0);
    client.write_all(b"afterwards").await.expect("it is taken");
    client.shutdown().await.expect("it is taken");
    assert_eq!(read_all(&mut stream, 4).await.expect("an end"), b"afterwards");
    let error = stream.write_all(b"more").await.expect_err("all was said");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn what_came_before_a_broken_record_is_read_and_then_the_error() {
    let authority = Authority::new();
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    let config = Arc::new(authority.client(Client::default()));
    let (opened, client) = listener.meet(&config, SERVER).await;
    let (mut stream, mut client) = (opened.expect("good").stream, client.expect("good"));
    client.write_all(b"good").await.expect("it is taken");
    client.flush().await.expect("it is taken");
    let (socket, _) = client.get_mut();
    socket.write_all(b"\x17\x03\x03\0\x20").await.expect("it is taken");
    socket.write_all(&[0; 32]).await.expect("it is taken");
    let mut scratch = [0; 100];
    assert_eq!(stream.read(&mut scratch).await.expect("it came before"), 4);
    let error = stream.read(&mut scratch).await.expect_err("it is broken");
    assert_eq!(
        (error.kind(), &*error.to_string()),
        (ErrorKind::InvalidData, "cannot decrypt peer's message")
    );
    let error = stream.write_all(b"answer").await.expect_err("it is broken");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let told = client.read(&mut scratch).await.expect_err("an alert");
    assert_eq!(told.to_string(), "received fatal alert: BadRecordMac");
}

#[tokio::test]
async fn what_arrived_is_read_without_waiting_for_it() {
    let authority = Authority::new();
    let listener = Listener::new(options(&[&authority.issue(SERVER)]));
    let config = Arc::new(authority.client(Client::default()));
    let (opened, client) = listener.meet(&config, SERVER).await;
    let (mut stream, mut client) = (opened.expect("good").stream, client.expect("good"));
    let mut scratch = [0; 100];
    let nothing = stream.read_now(&mut scratch).expect_err("nothing has arrived");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    client.write_all(b"now").await.expect("it is taken");
    client.flush().await.expect("it is taken");
    // Loopback hands it over at once.
    assert_eq!(stream.read_now(&mut scratch).expect("it has arrived"), 3);
    assert_eq!(&scratch[..3], b"now");
}

/// A session on its way, in memory: what a client would send, to be cut and changed.
fn client_bytes(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = SERVER.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory takes it");
    hello
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a client sends, and in whatever pieces: it is refused or let in, and nothing panics.
    #[test]
    fn bytes_that_make_no_sense_are_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        thread_local! {
            static SETUP: (Authority, pki::Files) = {
                let authority = Authority::new();
                let files = authority.issue(SERVER);
                (authority, files)
            };
        }
        SETUP.with(|(authority, files)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = Listener::new(options(&[files]));
                let mut bytes = client_bytes(&Arc::new(authority.client(Client::default())));
                for (place, byte) in &changes {
                    let place = place.index(bytes.len());
                    bytes[place] = *byte;
                }
                bytes.extend_from_slice(&tail);
                let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
                cuts.sort_unstable();
                cuts.push(bytes.len());
                let client = async {
                    let mut socket = TcpStream::connect(listener.address).await.expect("a listener");
                    let mut from = 0;
                    for cut in cuts {
                        if socket.write_all(&bytes[from..cut]).await.is_err() {
                            return;
                        }
                        from = cut;
                        tokio::task::yield_now().await;
                    }
                    let _ = socket.shutdown().await;
                    let _ = socket.read_to_end(&mut Vec::new()).await;
                };
                let (opened, ()) = tokio::join!(listener.open(), client);
                opened.expect_err("the second flight never comes");
            });
        });
    }
}
