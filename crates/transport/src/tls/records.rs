//! Records in, plain bytes out, and the other way: the machine of the TLS library, driven over memory that is the caller's.

use std::io;

use rustls::Error;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

/// Plain bytes of one record.
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// What a record takes more than its plain bytes, in any version and suite.
const OVERHEAD: usize = 64;

/// The machine has said all it has to say about what it was given.
#[derive(Debug, Default)]
pub(super) struct Pumped {
    /// Bytes of the input that are done with.
    pub(super) used: usize,
    /// Whether the peer said that nothing more comes.
    pub(super) ended: bool,
}

/// Gives the machine `input`, until it wants more. What it has to send goes behind `outgoing`, plain bytes to `plain`. After
/// an error the machine is not given anything any more; what it tells the peer about it is in `outgoing`.
pub(super) fn pump(
    machine: &mut UnbufferedServerConnection,
    input: &mut [u8],
    outgoing: &mut Vec<u8>,
    plain: impl FnMut(&[u8]),
) -> Result<Pumped, Error> {
    turn(machine, input, outgoing, plain, |_, _| Ok(()))
}

/// Encrypts `bytes` behind `outgoing`. `input` is what stands before the machine undecided.
pub(super) fn encrypt(
    machine: &mut UnbufferedServerConnection,
    input: &mut [u8],
    outgoing: &mut Vec<u8>,
    plain: impl FnMut(&[u8]),
    bytes: &[u8],
) -> Result<Pumped, Error> {
    let room = bytes.len() + OVERHEAD * bytes.len().div_ceil(RECORD_BYTES);
    turn(machine, input, outgoing, plain, |traffic, outgoing| {
        behind(outgoing, room, |place| traffic.encrypt(bytes, place))
    })
}

/// Says behind `outgoing` that nothing more comes.
pub(super) fn close(
    machine: &mut UnbufferedServerConnection,
    input: &mut [u8],
    outgoing: &mut Vec<u8>,
    plain: impl FnMut(&[u8]),
) -> Result<Pumped, Error> {
    turn(machine, input, outgoing, plain, |traffic, outgoing| {
        behind(outgoing, OVERHEAD, |place| traffic.queue_close_notify(place))
    })
}

fn turn(
    machine: &mut UnbufferedServerConnection,
    input: &mut [u8],
    outgoing: &mut Vec<u8>,
    mut plain: impl FnMut(&[u8]),
    write: impl FnOnce(
        &mut WriteTraffic<'_, ServerConnectionData>,
        &mut Vec<u8>,
    ) -> Result<(), EncryptError>,
) -> Result<Pumped, Error> {
    let mut pumped = Pumped::default();
    loop {
        let rest = input.get_mut(pumped.used..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = machine.process_tls_records(rest);
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                // With the input as it stands: the machine may hold places in it.
                let rest = input.get_mut(pumped.used + discard..).unwrap_or_default();
                last_words(machine, rest, outgoing);
                return Err(error);
            }
        };
        let done = match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain(record.payload);
                }
                false
            }
            ConnectionState::EncodeTlsData(mut data) => {
                encode(&mut data, outgoing)?;
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                // It is in the caller's hands, who sends what is there before anything else.
                data.done();
                false
            }
            ConnectionState::PeerClosed => {
                pumped.ended = true;
                false
            }
            ConnectionState::Closed => {
                pumped.ended = true;
                true
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                write(&mut traffic, outgoing).map_err(|error| Error::General(error.to_string()))?;
                pumped.used += discard;
                return Ok(pumped);
            }
            ConnectionState::BlockedHandshake => true,
            // Early data is never offered, and there are no other states.
            ConnectionState::ReadEarlyData(_) => return Err(Error::HandshakeNotComplete),
            _ => return Err(Error::HandshakeNotComplete),
        };
        pumped.used += discard;
        if done {
            return Ok(pumped);
        }
    }
}

/// What the machine has to say about an error it found: an alert for the peer.
fn last_words(machine: &mut UnbufferedServerConnection, rest: &mut [u8], outgoing: &mut Vec<u8>) {
    // It must not look at the input again, which would be found wrong once more.
    while machine.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut data)) = machine.process_tls_records(rest).state
        else {
            return;
        };
        if encode(&mut data, outgoing).is_err() {
            return;
        }
    }
}

fn encode(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut Vec<u8>,
) -> Result<(), Error> {
    // The first try tells how much room it takes.
    let required = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
        Err(error @ EncodeError::AlreadyEncoded) => return Err(Error::General(error.to_string())),
    };
    let before = outgoing.len();
    outgoing.resize(before + required, 0);
    let written = data
        .encode(outgoing.get_mut(before..).unwrap_or_default())
        .map_err(|error| Error::General(error.to_string()))?;
    outgoing.truncate(before + written);
    Ok(())
}

/// Lets `write` fill at least `room` bytes behind `outgoing`; more if it says so.
fn behind(
    outgoing: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), EncryptError> {
    let before = outgoing.len();
    outgoing.resize(before + room, 0);
    let mut written = write(outgoing.get_mut(before..).unwrap_or_default());
    if let Err(EncryptError::InsufficientSize(needed)) = &written {
        outgoing.resize(before + needed.required_size, 0);
        written = write(outgoing.get_mut(before..).unwrap_or_default());
    }
    outgoing.truncate(before + *written.as_ref().unwrap_or(&0));
    written.map(|_| ())
}

/// An error of the protocol, as a stream has them.
pub(super) fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
