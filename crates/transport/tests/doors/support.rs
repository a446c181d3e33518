//! A door with a client before it.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::task::Poll;

use dunlin_transport::{Door, Opened, Peer, Refused, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Both ends of one connection.
pub(crate) async fn connect() -> (TcpStream, Opened) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (socket, address) = accepted.unwrap();
    (client.unwrap(), Opened::new(Stream::from(socket), Peer::tcp(address)))
}

/// Sends `bytes` to a door, in pieces of `piece` bytes with a rest for the other side after each, and says what came of it.
pub(crate) async fn send(
    door: &Door,
    bytes: &[u8],
    piece: usize,
) -> (TcpStream, Result<Opened, Refused>) {
    let (mut client, opened) = connect().await;
    let sending = async {
        for piece in bytes.chunks(piece) {
            // The door may have closed before the last one.
            if client.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (outcome, ()) = tokio::join!(door.open(opened), sending);
    (client, outcome)
}

/// The address of this end.
pub(crate) fn address(client: &TcpStream) -> Option<SocketAddr> {
    client.local_addr().ok()
}

/// Reads all that the other side sends until it closes.
pub(crate) async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Reads the head of an answer.
pub(crate) async fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads so many plain bytes.
pub(crate) async fn read(stream: &mut Stream, count: usize) -> Vec<u8> {
    let (mut bytes, mut scratch) = (Vec::new(), vec![0; 1000]);
    while bytes.len() < count {
        let count = stream.read(&mut scratch).await.unwrap();
        assert!(count > 0, "the end after {bytes:?}");
        bytes.extend(&scratch[..count]);
    }
    bytes
}

/// Writes as a connection's task does: vectored, registering only when nothing is taken.
pub(crate) async fn write(stream: &mut Stream, pieces: &[&[u8]]) {
    let mut rest = pieces.to_vec();
    std::future::poll_fn(|cx| {
        while !rest.is_empty() {
            let slices: Vec<_> = rest.iter().map(|piece| IoSlice::new(piece)).collect();
            match stream.try_write_vectored(&slices) {
                Ok(mut taken) => {
                    assert!(taken > 0);
                    while taken > 0 {
                        let len = rest[0].len().min(taken);
                        taken -= len;
                        rest[0] = &rest[0][len..];
                        if rest[0].is_empty() {
                            rest.remove(0);
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::task::ready!(stream.poll_write_ready(cx)).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        stream.poll_flush(cx)
    })
    .await
    .unwrap();
}

/// Asks a stream once.
pub(crate) async fn poll_read_once(stream: &mut Stream) -> Poll<std::io::Result<usize>> {
    let mut scratch = vec![0; 1000];
    std::future::poll_fn(|cx| Poll::Ready(stream.poll_read(cx, &mut scratch))).await
}
