//! The few packets of MQTT 3.1.1 that blocking clients need.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use crate::Outcome;
use crate::clients::connect;

/// A client at QoS 1 that blocks.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    pub(crate) fn connect(port: u16, client_id: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            reader: BufReader::with_capacity(64 * 1024, stream.try_clone()?),
            writer: stream,
        };
        client.send(&connect(client_id))?;
        client.skip(4)?;
        Ok(client)
    }

    pub(crate) fn subscribe(&mut self, filter: &str) -> Outcome<()> {
        let length = u8::try_from(filter.len())?;
        self.send(&[&[0x82, length + 5, 0, 1, 0, length], filter.as_bytes(), &[1]].concat())?;
        self.skip(5)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.writer.write_all(bytes)?)
    }

    /// Reads so many bytes, whatever they are.
    pub(crate) fn skip(&mut self, count: usize) -> Outcome<()> {
        let mut rest = (&mut self.reader).take(count as u64);
        let read = std::io::copy(&mut rest, &mut std::io::sink())?;
        if read < count as u64 { Err("the broker closed".into()) } else { Ok(()) }
    }

    /// Publishes `count` copies of a message, `window` of them at a time, and waits for all acknowledgements.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        count: usize,
        window: usize,
    ) -> Outcome<()> {
        let mut left = count;
        while left > 0 {
            let batch = left.min(window);
            let mut bytes = Vec::with_capacity(batch * (payload.len() + topic.len() + 9));
            for id in 1..=u16::try_from(batch)? {
                push_publish(&mut bytes, topic, id, payload)?;
            }
            self.send(&bytes)?;
            self.skip(4 * batch)?;
            left -= batch;
        }
        Ok(())
    }

    /// Takes `count` messages of one size and acknowledges them, as they come.
    pub(crate) fn take(&mut self, topic: &str, payload: usize, count: usize) -> Outcome<()> {
        let mut one = Vec::new();
        push_publish(&mut one, topic, 1, &vec![0; payload])?;
        let id_at = one.len() - payload - 2;
        let mut acks = Vec::new();
        for _ in 0..count {
            self.reader.read_exact(&mut one)?;
            let id = one.get(id_at..id_at + 2).ok_or("no packet identifier")?;
            acks.extend_from_slice(&[0x40, 2]);
            acks.extend_from_slice(id);
            if self.reader.buffer().len() < one.len() {
                self.writer.write_all(&acks)?;
                acks.clear();
            }
        }
        Ok(self.writer.write_all(&acks)?)
    }
}

fn push_publish(into: &mut Vec<u8>, topic: &str, id: u16, payload: &[u8]) -> Outcome<()> {
    let mut length = 2 + topic.len() + 2 + payload.len();
    into.push(0x32);
    loop {
        let byte = u8::try_from(length % 128)?;
        length /= 128;
        into.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    into.extend_from_slice(&u16::try_from(topic.len())?.to_be_bytes());
    into.extend_from_slice(topic.as_bytes());
    into.extend_from_slice(&id.to_be_bytes());
    into.extend_from_slice(payload);
    Ok(())
}
