//! A client's way in: it waits for each answer, because this is not what is measured.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dunlin_benches::wire::{Version, connect, first, subscribe, variable};
use mio::net::TcpStream as Stream;

use crate::Outcome;
use crate::options::Options;

const PATIENCE: Duration = Duration::from_secs(20);

/// Filters in one SUBSCRIBE at the most.
const FILTERS: usize = 100;

/// What a CONNACK says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Connack {
    pub(crate) session_present: bool,
    pub(crate) receive_maximum: u16,
}

/// A session that its broker has accepted, and the filters that it has granted.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) connack: Connack,
}

/// Connects and subscribes.
pub(crate) fn open(
    options: &Options,
    client_id: &str,
    persistent: bool,
    filters: &[String],
) -> Outcome<Opened> {
    try_open(options, client_id, persistent, filters).map_err(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let what = match kind {
            Some(ErrorKind::UnexpectedEof) => "the broker closed the connection".to_owned(),
            // A time that is over, by the name of the platform.
            Some(ErrorKind::WouldBlock) => format!("no answer for {} s", PATIENCE.as_secs()),
            _ => error.to_string(),
        };
        format!("client {client_id}: {what}").into()
    })
}

fn try_open(
    options: &Options,
    client_id: &str,
    persistent: bool,
    filters: &[String],
) -> Outcome<Opened> {
    let mut stream = TcpStream::connect(options.broker)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&connect(options.version, client_id, persistent))?;
    let connack = match packet(&mut stream)? {
        (first::CONNACK, body) => read_connack(options.version, &body)?,
        (first, _) => return Err(format!("{first:#04x} instead of a CONNACK").into()),
    };
    for (id, filters) in (1..).zip(filters.chunks(FILTERS)) {
        stream.write_all(&subscribe(options.version, id, filters, options.qos))?;
        let (first, body) = packet(&mut stream)?;
        let granted = body.get(body.len().saturating_sub(filters.len())..).unwrap_or_default();
        if first != first::SUBACK || granted.iter().any(|code| *code != options.qos) {
            return Err(
                format!("SUBSCRIBE with QoS {} was granted {granted:?}", options.qos).into()
            );
        }
    }
    stream.set_nonblocking(true)?;
    Ok(Opened { stream: Stream::from_std(stream), connack })
}

/// Exactly one packet: what comes after it stays in the socket.
fn packet(stream: &mut TcpStream) -> Outcome<(u8, Vec<u8>)> {
    let mut head = [0; 1];
    stream.read_exact(&mut head)?;
    let [first] = head;
    let mut length = Vec::new();
    let size = loop {
        stream.read_exact(&mut head)?;
        length.extend(head);
        match variable(&length) {
            Ok(Some((size, _))) => break size,
            Ok(None) => {}
            Err(_) => return Err("a Remaining Length of more than four bytes".into()),
        }
    };
    let mut body = vec![0; size];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}

pub(crate) fn read_connack(version: Version, body: &[u8]) -> Outcome<Connack> {
    let Some(([flags, code], rest)) = body.split_first_chunk() else {
        return Err("a CONNACK without a code".into());
    };
    if *code != 0 {
        return Err(format!("CONNECT was refused with {code:#04x}").into());
    }
    let mut receive_maximum = u16::MAX;
    if version == Version::V5 {
        let properties = variable(rest).ok().flatten().map(|(_, properties)| properties);
        receive_maximum = receive_maximum_of(properties.ok_or("a CONNACK without properties")?);
    }
    Ok(Connack { session_present: flags & 1 == 1, receive_maximum })
}

/// The value of the property 0x21 among those of a CONNACK.
fn receive_maximum_of(properties: &[u8]) -> u16 {
    let mut rest = properties;
    while let Some((id, value)) = rest.split_first() {
        let text =
            |from: &[u8]| from.first_chunk().map(|n| 2 + usize::from(u16::from_be_bytes(*n)));
        let length = match id {
            0x21 => return value.first_chunk().map_or(u16::MAX, |n| u16::from_be_bytes(*n)),
            // Expiry and packet size; Keep Alive and aliases; texts; one byte each.
            0x11 | 0x27 => Some(4),
            0x13 | 0x22 => Some(2),
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text(value),
            0x26 => text(value).and_then(|name| Some(name + text(value.get(name..)?)?)),
            _ => Some(1),
        };
        rest = length.and_then(|length| value.get(length..)).unwrap_or_default();
    }
    u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connack_says_whether_there_was_a_session_and_what_may_be_under_way() {
        let read = |version, body: &[u8]| read_connack(version, body).map_err(|e| e.to_string());
        let connack =
            |session_present, receive_maximum| Connack { session_present, receive_maximum };
        assert_eq!(read(Version::V3_1_1, &[1, 0]), Ok(connack(true, 65_535)));
        assert_eq!(read(Version::V5, &[0, 0, 0]), Ok(connack(false, 65_535)));
        let properties = [
            0, 0, 20, 0x11, 0, 0, 0, 1, 0x26, 0, 1, b'a', 0, 1, b'b', 0x12, 0, 1, b'c', 0x21, 1, 2,
            0x24,
        ];
        assert_eq!(read(Version::V5, &properties), Ok(connack(false, 258)));
        assert_eq!(read(Version::V3_1_1, &[0, 5]), Err("CONNECT was refused with 0x05".to_owned()));
    }
}
