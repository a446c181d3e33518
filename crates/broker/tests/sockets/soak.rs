//! Clients that lose their connections at any moment, and a broker that crashes: what QoS 1 and 2 promise holds all the same.
//!
//! Publishers and subscribers keep their own session state as the standard asks of a client. Connections end after a random
//! number of packets, by a loss or by a takeover; the broker is now and then replaced by one that starts from what a crash
//! would leave. The seed is printed when a run fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use crate::support::*;

const MESSAGES: usize = 3_000;
const WINDOW: usize = 20;

/// Enough randomness for a test, the same for a seed each time.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX >> 33) + 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // Xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// Where the broker of the moment listens.
type Address = watch::Receiver<SocketAddr>;

/// A connection to the broker of the moment, with the session there. One that is there already is taken over, or lost before.
async fn come_back(
    address: &mut Address,
    version: Version,
    id: &str,
    old: Option<Client>,
    random: &mut Random,
    first: &mut bool,
) -> Client {
    let old = old.filter(|_| random.below(3) == 0);
    loop {
        let at = *address.borrow_and_update();
        if let Some(mut client) = Client::try_dial(at, version).await
            && client.try_send(connect(version, id).kept()).await.is_ok()
            && client.was_accepted().await
        {
            if !*first {
                client.assert_session_present(true);
            }
            *first = false;
            drop(old);
            return client;
        }
        sleep_ms(5).await;
    }
}

/// Publishes numbers at `qos` until all are acknowledged.
async fn publisher(mut address: Address, version: Version, qos: Qos, mut random: Random) {
    let id = format!("publisher{qos:?}");
    let mut next = 0;
    // Packet identifier to number: sent but not acknowledged, and released but not completed.
    let mut sent: BTreeMap<usize, u16> = BTreeMap::new();
    let mut released: Vec<u16> = Vec::new();
    let mut client = None;
    let mut first = true;
    while next < MESSAGES || !sent.is_empty() || !released.is_empty() {
        let old = client.take();
        let connection = client
            .insert(come_back(&mut address, version, &id, old, &mut random, &mut first).await);
        let mut lifetime = 20 + random.below(200);
        let message = |number: usize, id: u16| {
            publish(&format!("t/{qos:?}"), number.to_string()).qos(qos).id(id)
        };
        let mut alive = true;
        for &id in &released {
            alive &= connection.try_send(pubrel(id)).await.is_ok();
        }
        for (&number, &id) in &sent {
            alive &= connection.try_send(message(number, id).dup()).await.is_ok();
        }
        while alive && lifetime > 0 && (next < MESSAGES || !sent.is_empty() || !released.is_empty())
        {
            lifetime -= 1;
            if next < MESSAGES && sent.len() + released.len() < WINDOW {
                let id = u16::try_from(next % 60_000 + 1).expect("below 65,536");
                sent.insert(next, id);
                alive = connection.try_send(message(next, id)).await.is_ok();
                next += 1;
                continue;
            }
            let packet = tokio::time::timeout(PATIENCE, connection.next_or_end()).await;
            match packet.unwrap_or_else(|_| panic!("{id}: no answer to {sent:?} {released:?}")) {
                Some(Packet::PubAck(ack)) => sent.retain(|_, id| *id != ack.packet_id.get()),
                Some(Packet::PubRec(ack)) => {
                    let id = ack.packet_id.get();
                    // A repeat may be answered once more.
                    if sent.values().any(|sent| *sent == id) {
                        sent.retain(|_, sent| *sent != id);
                        released.push(id);
                    }
                    alive = connection.try_send(pubrel(id)).await.is_ok();
                }
                Some(Packet::PubComp(ack)) => released.retain(|id| *id != ack.packet_id.get()),
                Some(Packet::Disconnect(_)) | None => alive = false,
                Some(other) => panic!("{id}: {other:?}"),
            }
        }
    }
}

/// Takes numbers until the last one has come, and returns them all in the order they were delivered to the application.
async fn subscriber(
    mut address: Address,
    version: Version,
    qos: Qos,
    mut random: Random,
) -> Vec<usize> {
    let id = format!("subscriber{qos:?}");
    let mut delivered = Vec::new();
    let mut incomplete: BTreeSet<u16> = BTreeSet::new();
    let mut client = None;
    let mut first = false;
    while delivered.last() != Some(&(MESSAGES - 1)) || !incomplete.is_empty() {
        let old = client.take();
        let connection = client
            .insert(come_back(&mut address, version, &id, old, &mut random, &mut first).await);
        let mut lifetime = 20 + random.below(200);
        let mut alive = true;
        while alive
            && lifetime > 0
            && (delivered.last() != Some(&(MESSAGES - 1)) || !incomplete.is_empty())
        {
            lifetime -= 1;
            let packet = tokio::time::timeout(PATIENCE * 2, connection.next_or_end()).await;
            match packet.unwrap_or_else(|_| panic!("{id}: nothing after {:?}", delivered.last())) {
                Some(Packet::Publish(message)) => {
                    let id = message.id_number();
                    let number = text(&message.payload).parse().expect("a number");
                    if qos == QOS1 || incomplete.insert(id) {
                        delivered.push(number);
                    }
                    let answer = if qos == QOS1 { puback(id) } else { pubrec(id) };
                    alive = connection.try_send(answer).await.is_ok();
                }
                Some(Packet::PubRel(ack)) => {
                    incomplete.remove(&ack.packet_id.get());
                    alive = connection.try_send(pubcomp(ack.packet_id.get())).await.is_ok();
                }
                Some(Packet::Disconnect(_)) | None => alive = false,
                Some(other) => panic!("{id}: {other:?}"),
            }
        }
    }
    delivered
}

/// Replaces the broker now and then by one that starts from what a crash would leave.
async fn crash_again_and_again(
    disk: &mut MemoryStore,
    server: &mut Server,
    moved: &watch::Sender<SocketAddr>,
    random: &mut Random,
) {
    loop {
        tokio::time::sleep(Duration::from_millis(40 + random.below(120))).await;
        // Nothing more is committed from here on, so nothing more is acknowledged that the image does not hold.
        disk.faults().hold();
        sleep_ms(20).await;
        let image = disk.image();
        let next = Server::on(&image).await;
        moved.send_replace(next.address());
        drop(std::mem::replace(server, next));
        // The old broker's last commit goes through when its connections are surely closed.
        let faults = std::mem::replace(disk, image).faults();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            faults.release();
        });
    }
}

/// A member of a shared group: takes numbers until all members together have them all.
async fn member(
    mut address: Address,
    id: String,
    taken: Arc<Mutex<BTreeSet<usize>>>,
    mut random: Random,
) {
    let have = || taken.lock().expect("not poisoned").len();
    let mut client = None;
    let mut first = false;
    while have() < MESSAGES {
        let old = client.take();
        let connection = client
            .insert(come_back(&mut address, Version::V5, &id, old, &mut random, &mut first).await);
        let mut lifetime = 20 + random.below(200);
        while lifetime > 0 && have() < MESSAGES {
            lifetime -= 1;
            match tokio::time::timeout(SILENCE, connection.next_or_end()).await {
                Err(_) => {}
                Ok(Some(Packet::Publish(message))) => {
                    // One in ten is left to another member, or to itself after the loss.
                    if random.below(10) == 0 {
                        continue;
                    }
                    let number = text(&message.payload).parse().expect("a number");
                    if connection.try_send(puback(message.id_number())).await.is_err() {
                        break;
                    }
                    taken.lock().expect("not poisoned").insert(number);
                }
                Ok(None | Some(Packet::Disconnect(_))) => break,
                Ok(Some(other)) => panic!("{id}: {other:?}"),
            }
        }
    }
}

async fn check_soak(version: Version, seed: u64) {
    let mut disk = MemoryStore::new();
    let mut server = Server::on(&disk).await;
    for qos in [QOS1, QOS2] {
        let packet = connect(version, &format!("subscriber{qos:?}")).kept();
        let mut client = server.connect(packet).await;
        client.subscribe(&format!("t/{qos:?}"), qos).await;
        server.lose(client).await;
    }
    let (moved, address) = watch::channel(server.address());
    let mut random = Random(seed);
    let publishing = [QOS1, QOS2]
        .map(|qos| tokio::spawn(publisher(address.clone(), version, qos, random.fork())));
    let subscribing = [QOS1, QOS2]
        .map(|qos| tokio::spawn(subscriber(address.clone(), version, qos, random.fork())));
    let crashing = crash_again_and_again(&mut disk, &mut server, &moved, &mut random);
    let ending = async {
        for publisher in publishing {
            publisher.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let mut delivered = Vec::new();
        for subscriber in subscribing {
            delivered.push(subscriber.await.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
        }
        delivered
    };
    let delivered = tokio::select! {
        delivered = ending => delivered,
        () = crashing => unreachable!("it crashes for ever"),
    };
    let expected: Vec<_> = (0..MESSAGES).collect();
    let [at_least_once, exactly_once] = delivered.as_slice() else {
        unreachable!("two subscribers")
    };
    assert_eq!(*exactly_once, expected, "seed {seed}: QoS 2 is delivered exactly once, in order");
    let mut seen = BTreeSet::new();
    let firsts: Vec<_> =
        at_least_once.iter().copied().filter(|number| seen.insert(*number)).collect();
    assert_eq!(firsts, expected, "seed {seed}: QoS 1 is delivered at least once, in order");
}

versions!(promises_hold_over_losses_takeovers_and_crashes: V3_1, V3_1_1, V5);
// [MQTT-4.3.2-4] [MQTT-4.3.2-5] [MQTT-4.3.3-10] [MQTT-4.3.3-12] [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.6.0-6] [MQTT-4.1.0-1]
// [MQTT-4.3.2-2 @3.1.1] [MQTT-4.3.3-1 @3.1.1] [MQTT-4.3.3-2 @3.1.1] [MQTT-4.4.0-1 @3.1.1] [MQTT-4.6.0-1 @3.1.1] [MQTT-4.1.0-1 @3.1.1]
async fn promises_hold_over_losses_takeovers_and_crashes(version: Version) {
    check_soak(version, seed()).await;
}

/// `DUNLIN_SOAK_SEED` sets another one.
fn seed() -> u64 {
    std::env::var("DUNLIN_SOAK_SEED").map_or(7, |seed| seed.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
// (4.8.2) [MQTT-4.3.2-4] [MQTT-4.8.2-4] A shared group loses nothing while its members come and go and the broker crashes.
async fn a_shared_group_loses_nothing_over_losses_and_crashes() {
    let mut random = Random(seed());
    let mut disk = MemoryStore::new();
    let mut server = Server::on(&disk).await;
    let ids = ["m0", "m1", "m2"];
    for id in ids {
        let mut client = server.connect(connect(Version::V5, id).kept()).await;
        client.subscribe("$share/g/t/#", QOS1).await;
        server.lose(client).await;
    }
    let (moved, address) = watch::channel(server.address());
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let mut running =
        vec![tokio::spawn(publisher(address.clone(), Version::V5, QOS1, random.fork()))];
    for id in ids {
        let member = member(address.clone(), id.to_owned(), Arc::clone(&taken), random.fork());
        running.push(tokio::spawn(member));
    }
    let crashing = crash_again_and_again(&mut disk, &mut server, &moved, &mut random);
    let ending = async {
        for task in running {
            task.await.unwrap_or_else(|error| panic!("seed {}: {error}", seed()));
        }
    };
    let place = Location::caller();
    let ending =
        within_at(place, Duration::from_secs(30), "every message to be taken".into(), ending);
    tokio::select! {
        () = ending => {}
        () = crashing => unreachable!("it crashes for ever"),
    }
    let expected: BTreeSet<_> = (0..MESSAGES).collect();
    assert_eq!(*taken.lock().expect("not poisoned"), expected, "seed {}", seed());
}
