//! What the program's allocator does with memory that is not needed any more.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Running, connect, dunlin};

const PAIRS: u8 = 8;
const MESSAGES: u16 = 2_000;
const PAYLOAD: usize = 16 * 1024;
/// Messages on their way from one publisher.
const WINDOW: u16 = 50;

/// How long after the last message the memory of the burst may stay.
const PATIENCE: Duration = Duration::from_secs(10);

/// PUBLISH of MQTT 5.0 at QoS 1 to a topic of one letter.
fn publish(topic: u8, id: u16) -> Vec<u8> {
    // A Remaining Length of 16,390: topic 3, Packet Identifier 2, no properties 1, and the payload.
    let mut packet = vec![0x32, 0x86, 0x80, 0x01];
    packet.extend([0, 1, topic]);
    packet.extend(id.to_be_bytes());
    packet.push(0);
    packet.resize(packet.len() + PAYLOAD, b'x');
    packet
}

fn subscribe(stream: &mut TcpStream, topic: u8) {
    stream.write_all(&[0x82, 7, 0, 1, 0, 0, 1, topic, 1]).unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x90, 4, 0, 1, 0, 1]);
}

fn publish_all(stream: &mut TcpStream, topic: u8) {
    for _ in 0..MESSAGES / WINDOW {
        for id in 1..=WINDOW {
            stream.write_all(&publish(topic, id)).unwrap();
        }
        let mut answers = vec![0; 4 * usize::from(WINDOW)];
        stream.read_exact(&mut answers).unwrap();
    }
}

fn take_all(stream: &mut TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut packet = publish(0, 0);
    for _ in 0..MESSAGES {
        reader.read_exact(&mut packet).unwrap();
        stream.write_all(&[&[0x40, 2], packet.get(7..9).unwrap()].concat()).unwrap();
    }
}

fn resident_kib(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn at_once(streams: &mut [TcpStream], act: impl Fn(u8, &mut TcpStream) + Sync) {
    let act = &act;
    thread::scope(|scope| {
        for (topic, stream) in (b'a'..).zip(streams) {
            scope.spawn(move || act(topic, stream));
        }
    });
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "says how much is resident in a way of its own")]
fn memory_goes_back_within_ten_seconds_of_a_burst() {
    let mut command = dunlin(&["--listen", "127.0.0.1:0"]);
    command.env("DUNLIN_LIMITS_QUEUE_BYTES_MAX", "1 GiB");
    let running = Running::start(&mut command);
    let ids = b'a'..b'a' + PAIRS;
    let mut subscribers: Vec<_> =
        ids.clone().map(|id| connect(running.address, id.to_ascii_uppercase())).collect();
    let mut publishers: Vec<_> = ids.map(|id| connect(running.address, id)).collect();
    at_once(&mut subscribers, |topic, stream| subscribe(stream, topic));
    let before = resident_kib(&running);
    at_once(&mut publishers, |topic, stream| publish_all(stream, topic));
    let peak = resident_kib(&running);
    let burst = u64::from(PAIRS) * u64::from(MESSAGES) * (PAYLOAD / 1024) as u64;
    // The rest is with the kernel.
    assert!(peak > before + burst / 2, "before {before} KiB, peak {peak} KiB");
    at_once(&mut subscribers, |_, stream| take_all(stream));
    let drained = Instant::now();
    let much = before + (peak - before) / 4;
    while resident_kib(&running) > much {
        assert!(
            drained.elapsed() < PATIENCE,
            "before {before} KiB, peak {peak} KiB, {} KiB after {PATIENCE:?}",
            resident_kib(&running)
        );
        thread::sleep(Duration::from_millis(100));
    }
}
