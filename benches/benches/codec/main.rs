//! Packets decoded and encoded by Dunlin and by other libraries, in one run.
//!
//! Before it is timed, each library must find the same fields in a packet, and write the same bytes again.

#![expect(missing_docs, reason = "criterion makes an undocumented function")]
#![expect(clippy::wildcard_enum_match_arm, reason = "the samples are packets of three types")]

mod dunlin;
mod mqtt_protocol_core;
mod mqttbytes;
mod ntex_mqtt;
mod rumqttc;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use dunlin_benches::packets::{self, Sample};
use dunlin_codec::Version;

/// Packets that one read buffer brings to a decoder.
const FRAMES: usize = 32;
/// Packets cloned at once for an encoder. Few, so that it finds them in the cache.
const CLONES: BatchSize = BatchSize::NumIterations(64);

/// A decoder, called as its documentation says.
trait Decode {
    const NAME: &'static str;
    /// A read buffer, which most libraries consume.
    type Input;
    /// What it answers, with the packet in it: not taken apart while the clock runs.
    type Answer<'a>;

    fn new(version: Version) -> Self;
    fn input(frames: &[u8]) -> Self::Input;
    /// Decodes the next packet.
    fn decode<'a>(&mut self, input: &'a mut Self::Input) -> Self::Answer<'a>;
    /// Visits all texts and all binary data of the packet, in the order of the wire.
    fn fields(answer: &Self::Answer<'_>, visit: impl FnMut(&[u8]));
}

/// An encoder, called as its documentation says.
trait Encode {
    const NAME: &'static str;
    /// A packet, with all it takes to encode it; cloned for each time, because some libraries consume it.
    type Packet: Clone;
    /// Where the bytes go: kept from time to time where the library allows it.
    type Output: Default;

    /// The packet of a frame, `None` if packets of its type are not encoded this way.
    fn packet(frame: &[u8], version: Version) -> Option<Self::Packet>;
    fn encode(packet: &mut Self::Packet, out: &mut Self::Output);
    /// The bytes that the packet becomes.
    fn bytes(packet: Self::Packet) -> Vec<u8>;
}

fn decode(criterion: &mut Criterion) {
    for sample in &packets::all() {
        Decoding { group: group(criterion, "decode", sample), sample, read: false }.time_all();
    }
}

/// Lists are read as well: most libraries make them while they decode, others, Dunlin among them, only check them
/// and leave them where they are.
fn decode_and_read(criterion: &mut Criterion) {
    for sample in packets::all().iter().filter(|sample| sample.has_list) {
        Decoding { group: group(criterion, "decode and read", sample), sample, read: true }
            .time_all();
    }
}

fn encode(criterion: &mut Criterion) {
    for sample in &packets::all() {
        Encoding { group: group(criterion, "encode", sample), sample }.time_all();
    }
}

fn group<'a>(
    criterion: &'a mut Criterion,
    what: &str,
    sample: &Sample,
) -> BenchmarkGroup<'a, WallTime> {
    criterion.benchmark_group(format!("{what}/{}", sample.name))
}

/// One packet, to be decoded by each library.
struct Decoding<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    sample: &'a Sample,
    read: bool,
}

impl Decoding<'_> {
    fn time_all(mut self) {
        self.time::<dunlin::Borrowed>();
        self.time::<dunlin::Owned>();
        self.time::<mqtt_protocol_core::Parser>();
        match self.sample.version {
            Version::V3_1 | Version::V3_1_1 => {
                self.time::<mqttbytes::V3>();
                self.time::<rumqttc::V3>();
                self.time::<ntex_mqtt::V3>();
            }
            Version::V5 => {
                self.time::<mqttbytes::V5>();
                self.time::<rumqttc::V5>();
                self.time::<ntex_mqtt::V5>();
            }
        }
        self.group.finish();
    }

    fn time<L: Decode>(&mut self) {
        let Self { group, sample, read } = self;
        let mut library = L::new(sample.version);
        let mut fields = Vec::new();
        L::fields(&library.decode(&mut L::input(&sample.frame)), |field| {
            fields.push(field.to_vec());
        });
        assert_eq!(fields, sample.fields, "{} reads {}", L::NAME, sample.name);

        let frames = sample.frame.repeat(FRAMES);
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(L::NAME, |bencher| {
            bencher.iter_batched_ref(
                || L::input(&frames),
                |input| {
                    for _ in 0..FRAMES {
                        let answer = library.decode(black_box(input));
                        black_box(&answer);
                        if *read {
                            L::fields(&answer, |field| _ = black_box(field));
                        }
                    }
                },
                BatchSize::NumIterations(1),
            );
        });
    }
}

/// One packet, to be encoded by each library.
struct Encoding<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    sample: &'a Sample,
}

impl Encoding<'_> {
    fn time_all(mut self) {
        self.time::<dunlin::Whole>();
        self.time::<dunlin::Chained>();
        self.time::<mqtt_protocol_core::Whole>();
        self.time::<mqtt_protocol_core::Chained>();
        match self.sample.version {
            Version::V3_1 | Version::V3_1_1 => {
                self.time::<mqttbytes::V3>();
                self.time::<rumqttc::V3>();
                self.time::<ntex_mqtt::V3>();
            }
            Version::V5 => {
                self.time::<mqttbytes::V5>();
                self.time::<rumqttc::V5>();
                self.time::<ntex_mqtt::V5>();
            }
        }
        self.group.finish();
    }

    fn time<L: Encode>(&mut self) {
        let Self { group, sample } = self;
        let Some(packet) = L::packet(&sample.frame, sample.version) else { return };
        assert_eq!(L::bytes(packet.clone()), sample.frame, "{} writes {}", L::NAME, sample.name);

        let mut out = L::Output::default();
        group.bench_function(L::NAME, |bencher| {
            bencher.iter_batched_ref(
                || packet.clone(),
                |packet| {
                    L::encode(black_box(packet), &mut out);
                    black_box(&out);
                },
                CLONES,
            );
        });
    }
}

criterion_group!(benches, decode, decode_and_read, encode);
criterion_main!(benches);
