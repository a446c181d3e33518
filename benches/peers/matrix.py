"""The rows: what the load does, and which figures of it stand in the tables."""

import dataclasses

# Where a run needs more clients than one machine has descriptors and ports for.
SUITE_CLIENTS = 100_000
PORTS = 28_000


@dataclasses.dataclass(frozen=True)
class Figure:
    key: str
    title: str
    # Whether less is better.
    less: bool = False
    scale: float = 1


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    meaning: str
    load: str
    figures: tuple = ()
    # Brokers that have no part in it, with the reason.
    without: dict = dataclasses.field(default_factory=dict)
    # For Dunlin only.
    environment: dict = dataclasses.field(default_factory=dict)


PER_CPU = Figure("per_cpu_second", "deliveries per CPU second")
RATE = Figure("rate", "deliveries per second")
CORES = Figure("broker_cores", "cores", less=True)
P99 = Figure("p99_us", "p99, ms", less=True, scale=1 / 1000)
PEAK = Figure("rss_peak", "resident at the most, MiB", less=True, scale=1 / 1024 / 1024)

NO_WILDCARDS = {"relay": "it knows exact topics only"}
NO_SHARING = {"relay": "it knows no shared subscriptions", "aedes": "it has no shared subscriptions"}
NO_IDENTIFIERS = {"relay": "identifiers of several publishers would meet at one subscriber"}
NO_STORE = {"relay": "it keeps nothing"}
ONLY_3 = {"NATS": "it speaks MQTT 3.1.1 only", "aedes": "it speaks MQTT 3.1.1 only"}
NO_STABLE = {
    **NO_STORE,
    "Mosquitto": "what it acknowledges here is in memory",
    "rumqttd": "what it acknowledges here is in memory",
    "NATS": "it syncs every two minutes",
    "aedes": "what it acknowledges here is in memory",
}


def rows(descriptors):
    """All of them, scaled to so many descriptors."""
    scale = 10
    while SUITE_CLIENTS // scale + 1_000 > min(descriptors, PORTS):
        scale *= 2
    clients = 50_000 // scale
    suite = f"a {scale}th of the clients"
    throughput = [
        ("p2p QoS 0", "100 publishers, each to a subscriber of its own", "p2p --pairs 100 --credit 50000", {}),
        ("fan-in QoS 0", "50 publishers to one subscriber", "fan-in --publishers 50 --credit 50000", {}),
        ("fan-out QoS 0", "1 publisher to 200 subscribers", "fan-out --subscribers 200 --credit 200000", {}),
        ("p2p QoS 0, 20 topics", "the same 100 pairs, each message on the next of 20 topics", "p2p --pairs 100 --topics 20 --credit 50000", {}),
        ("wildcard mix QoS 0", "10 publishers on 1,000 topics, 200 subscribers with filters of every shape, 10,000 cold filters beside", "wildcard --publishers 10 --subscribers 200 --cold 10000 --credit 50000", NO_WILDCARDS),
        ("p2p QoS 0, churn", "p2p while 1,000 wildcard SUBSCRIBE, UNSUBSCRIBE and connects a second go on", "p2p --pairs 100 --credit 50000 --churn 1000", NO_WILDCARDS),
        ("p2p QoS 1, window 20", "100 pairs, each publisher with 20 messages under way", "p2p --pairs 100 --qos 1 --window 20", {}),
        ("p2p QoS 1, window 100", "the same with 100", "p2p --pairs 100 --qos 1 --window 100", {}),
        ("p2p QoS 2, window 20", "", "p2p --pairs 100 --qos 2 --window 20", {}),
        ("p2p QoS 2, window 100", "", "p2p --pairs 100 --qos 2 --window 100", {}),
        ("fan-in QoS 1, window 20", "50 to 1", "fan-in --publishers 50 --qos 1 --window 20", NO_IDENTIFIERS),
        ("fan-in QoS 1, window 100", "", "fan-in --publishers 50 --qos 1 --window 100", NO_IDENTIFIERS),
        ("fan-out QoS 1", "1 to 200, window 100", "fan-out --subscribers 200 --qos 1 --window 100", NO_IDENTIFIERS),
        ("shared QoS 0", "10 publishers to one group of 10", "shared --publishers 10 --subscribers 10 --credit 50000", NO_SHARING),
        ("shared QoS 1", "the same, window 100", "shared --publishers 10 --subscribers 10 --qos 1 --window 100", NO_SHARING),
        ("p2p QoS 0, 5.0", "100 pairs of 5.0 clients", "p2p --pairs 100 --credit 50000 --mqtt 5.0", ONLY_3),
        ("p2p QoS 0, 5.0, properties", "with 3 user properties in each message", "p2p --pairs 100 --credit 50000 --mqtt 5.0 --properties 3", ONLY_3),
    ]
    table = [Row(name, meaning, load, (PER_CPU,), without) for name, meaning, load, without in throughput]
    floods = (RATE, PEAK)
    table += [
        Row("flood, p2p", "100 pairs, QoS 0, publishers that wait for nothing", "p2p --pairs 100", floods),
        Row("flood, fan-in", "50 to 1", "fan-in --publishers 50", floods),
        Row("flood, both ways", "50 pairs of clients that publish to each other", "both --pairs 50", floods),
        Row("20,000/s, p2p", "100 pairs, QoS 0, each message due at its time", "p2p --pairs 100 --rate 20000", (CORES, P99)),
        Row("100,000/s, 1,000 pairs", "one message a read", "p2p --pairs 1000 --rate 100000", (CORES, P99)),
        Row(
            "connect and subscribe",
            "5,000 clients, 100 at a time, that stay and say nothing",
            "storm --connections 5000 --outstanding 100 --hold 5",
            (
                Figure("connects_per_s", "connects per second"),
                Figure("cpu_us_each", "CPU each, us", less=True),
                Figure("resident_bytes_each", "resident bytes each", less=True),
            ),
        ),
    ]
    queues = (Figure("enqueue_per_s", "enqueued per second"), Figure("drain_per_s", "drained per second"))
    offline = "offline --sessions 100 --messages 2000 --publishers 10 --window 1000 --qos 1 --idle 5"
    retained = "retained --names 100000 --window 1000 --repeat 3 --idle 5"
    stored = (
        Figure("store_per_s", "stored per second"),
        Figure("replay_all_per_s", "replayed per second, `#`"),
        Figure("replay_some_per_s", "replayed per second, `+/x/#`"),
        Figure("resident_bytes_a_name", "resident bytes a name above its payload", less=True),
    )
    memory = {"DUNLIN_STORE_BACKEND": "memory"}
    table += [
        Row("offline QoS 1, in memory", "100 persistent sessions that are away get 2,000 messages each, window 1,000, and come back; Dunlin with `store.backend = \"memory\"`", offline, queues, NO_STORE, memory),
        Row("offline QoS 1, on stable storage", "the same with Dunlin's defaults: an acknowledgement means that the message survives a loss of power", offline, queues, NO_STABLE),
        Row("retained, in memory", "100,000 names, QoS 1, window 1,000; then three new subscribers to all, and three to a half", retained, stored, NO_STORE, memory),
        Row("retained, on stable storage", "the same with Dunlin's defaults", retained, stored, NO_STABLE),
        Row(
            f"p2p-50K-50K-50K-50K, {suite}",
            f"{clients:,} publishers at one message a second, {clients:,} subscribers, QoS 1, 16 bytes",
            f"p2p --pairs {clients} --rate {clients} --qos 1 --payload 16",
            (CORES, P99),
        ),
        Row(
            "fanout-5-1000-5-250K",
            "5 publishers at 50 messages a second, 1,000 subscribers to all 5 topics, QoS 1, 16 bytes",
            "fan-out --publishers 5 --subscribers 1000 --rate 250 --qos 1 --payload 16",
            (RATE, CORES, P99),
            NO_IDENTIFIERS,
        ),
        Row(
            f"sharedsub-50K-500-50K-50K, {suite}",
            f"{clients:,} publishers at one message a second to a group of 500, 5.0, QoS 1, 16 bytes",
            f"shared --publishers {clients} --subscribers 500 --rate {clients} --qos 1 --payload 16 --mqtt 5.0",
            (CORES, P99),
            {**NO_SHARING, **ONLY_3},
        ),
        Row(
            f"conn-tcp-1M-5K, {20_000 // scale * 5:,} clients",
            "that connect and subscribe at 5,000 a second",
            f"storm --connections {20_000 // scale * 5} --outstanding 1000 --rate 5000 --hold 5",
            (Figure("cpu_us_each", "CPU each, us", less=True), Figure("resident_bytes_each", "resident bytes each", less=True)),
        ),
    ]
    return table
