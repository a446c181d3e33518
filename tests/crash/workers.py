"""The processes beside the broker: publishers, subscribers, clients with wills. Each drives several clients in one thread."""

import os
import random
import signal
import time
import traceback

import payload
from endpoints import OwnEndpoint, Owner, PahoEndpoint, run_pass
from journal import ACKNOWLEDGED, DELIVERED, Journal
from packets import Will
from retained import is_clear, topic_of

SYNC_SECS = 0.02
IDENTIFIER_NOT_FOUND = 0x92
NO_MATCHING_SUBSCRIBERS = 0x10
def start(target, *arguments):
    """Forks a process that runs `target` and ends with the parent's wish or its own error."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        target(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class Notes:
    """What a worker found wrong, one line each, in a file of its own."""

    def __init__(self, folder, name):
        self._path = folder / f"{name}.found"

    def add(self, words):
        with open(self._path, "a") as file:
            file.write(words + "\n")


class Watched(Owner):
    """Whoever drives durable clients sees whether their sessions stay."""

    def __init__(self, folder, shared, name):
        self._shared = shared
        self._notes = Notes(folder, name)
        self._established = set()

    def established(self, endpoint, session_present):
        if endpoint.name in self._established and not session_present:
            self._notes.add(f"{endpoint.name}: the broker no longer had its session (kill {self._shared.kill[0]})")
        self._established.add(endpoint.name)

    def violated(self, endpoint, words):
        self._notes.add(f"{endpoint.name}: {words} (kill {self._shared.kill[0]})")


class Publishers(Watched):
    """Publishes at QoS 1 and 2 and records each acknowledgement, synced before it counts."""

    def __init__(self, folder, shared, port, specifications, seed):
        super().__init__(folder, shared, f"publishers-{specifications[0].number}")
        self._random = random.Random(seed)
        self._journal = Journal(folder / f"publishers-{specifications[0].number}.acknowledged")
        self._counted = {}
        self._endpoints = [
            (specification, specification.build(self, port)) for specification in specifications
        ]

    def run(self):
        shared = self._shared
        endpoints = [endpoint for _, endpoint in self._endpoints]
        synced = time.monotonic()
        while not shared.stop[0]:
            busy = False
            for specification, endpoint in self._endpoints:
                if shared.publishing[0]:
                    busy |= self._publish(specification, endpoint)
                shared.open[specification.number] = endpoint.unacknowledged()
            run_pass(endpoints, 0.001 if busy else 0.01)
            now = time.monotonic()
            if now - synced >= SYNC_SECS:
                synced = now
                self._sync()
        self._sync()

    def acknowledged(self, endpoint, token, reason):
        publisher, qos, number, kind = token
        # [MQTT-4.3.3-7] PUBCOMP for a PUBREL that came twice, once before the kill: the exchange is over.
        if reason >= 0x80 and not (qos == 2 and reason == IDENTIFIER_NOT_FOUND):
            self._notes.add(f"{endpoint.name}: QoS {qos} message {number} refused with {reason:#x}")
            return
        if reason == NO_MATCHING_SUBSCRIBERS and kind == payload.QUEUED:
            self._notes.add(
                f"{endpoint.name}: QoS {qos} message {number} acknowledged as without subscribers, which have sessions"
            )
        now = time.monotonic_ns() // 1000
        self._journal.add(ACKNOWLEDGED.pack(publisher, qos, number, kind, self._shared.kill[0], now))
        queued, retained = self._counted.get(publisher, (0, 0))
        self._counted[publisher] = (queued + (kind == payload.QUEUED), retained + (kind != payload.QUEUED))

    def _publish(self, specification, endpoint):
        room = min(endpoint.free(), 16)
        publisher = specification.number
        sent = self._shared.sent[publisher]
        for _ in range(room):
            if self._shared.retaining[0] and self._random.random() < 0.03:
                sent[0] += 1
                number = sent[0]
                clear = is_clear(number)
                kind = payload.CLEARED if clear else payload.RETAINED
                body = b"" if clear else payload.build(publisher, 1, number, kind, 100)
                endpoint.publish(topic_of(publisher, number), body, 1, (publisher, 1, number, kind), True)
                continue
            qos = self._random.choice(specification.qos)
            sent[qos] += 1
            number = sent[qos]
            body = payload.build(publisher, qos, number)
            endpoint.publish(f"crash/queued/{publisher}", body, qos, (publisher, qos, number, payload.QUEUED))
        return room > 0

    def _sync(self):
        if self._journal.sync():
            for publisher, (queued, retained) in self._counted.items():
                self._shared.acknowledged[publisher] += queued
                self._shared.acknowledged_retained[publisher] += retained
            self._counted.clear()


class Subscribers(Watched):
    """Durable subscribers that record every delivery."""

    def __init__(self, folder, shared, port, specifications, seed):
        name = f"subscribers-{specifications[0].number}"
        super().__init__(folder, shared, name)
        self._random = random.Random(seed)
        self._journal = Journal(folder / f"{name}.delivered")
        self._wills = Journal(folder / f"{name}.wills")
        self._specifications = {}
        self._highest = {}
        self._endpoints = []
        for specification in specifications:
            endpoint = specification.build(self, port)
            self._specifications[endpoint] = specification
            self._endpoints.append(endpoint)
        self._turn = {endpoint: 0.0 for endpoint in self._endpoints}

    def run(self):
        shared = self._shared
        while not shared.stop[0]:
            now = time.monotonic()
            for endpoint, specification in self._specifications.items():
                number = specification.number
                shared.ready[number] = endpoint.subscribed and endpoint.connected()
                if not endpoint.subscribed:
                    endpoint.wanted = True
                elif specification.flapping and shared.flapping[0]:
                    if now >= self._turn[endpoint]:
                        endpoint.wanted = not endpoint.wanted
                        self._turn[endpoint] = now + self._random.uniform(0.02, 0.6 if endpoint.wanted else 0.3)
                else:
                    endpoint.wanted = bool(shared.wanted[number])
            run_pass(self._endpoints)
            self._journal.write()
            self._wills.write()

    def delivered(self, endpoint, topic, body, qos):
        if topic.startswith("crash/will/"):
            self._wills.add(topic.encode() + b" " + body + b"\n")
            return
        found = payload.read(body)
        if found is None or topic != f"crash/queued/{found[0]}":
            self._notes.add(f"{endpoint.name}: a message on {topic} that nobody sent: {body[:40]!r}")
            return
        number = self._specifications[endpoint].number
        publisher, published_qos, sequence, _ = found
        highest = self._highest.get((number, publisher, published_qos), 0)
        if sequence > highest:
            self._highest[number, publisher, published_qos] = sequence
            self._shared.received[number] += sequence - highest
        self._journal.add(DELIVERED.pack(number, publisher, published_qos, sequence, qos, self._shared.kill[0]))


class OneConnection(OwnEndpoint):
    """Connects once: a second connection with the same will would be a second will."""

    tried = False
    had_connack = False

    def tick(self, now):
        if not self.tried:
            self.tried = self.client.open()


class Wills(Watched):
    """Clients with a will that lose their connections, by their own doing or the broker's."""

    OPEN = 6

    def __init__(self, folder, shared, port, seed):
        super().__init__(folder, shared, "wills")
        self._port = port
        self._random = random.Random(seed)
        self._journal = Journal(folder / "wills.journal")
        self._count = 0
        self._clients = {}

    def run(self):
        shared = self._shared
        while not shared.stop[0]:
            while shared.willing[0] and len(self._clients) < self.OPEN:
                self._begin()
            now = time.monotonic()
            for endpoint, (number, ends_at) in list(self._clients.items()):
                if endpoint.tried and endpoint.socket() is None:
                    # The broker was killed: the will is its to publish, if it had answered.
                    self._end(endpoint, number, "lost" if endpoint.had_connack else "unknown")
                elif endpoint.connected() and (now >= ends_at or not shared.willing[0]):
                    if not shared.willing[0] or self._random.random() < 0.2:
                        endpoint.leave()
                        self._end(endpoint, number, "left")
                    else:
                        endpoint.client.close()
                        self._end(endpoint, number, "lost")
            shared.wills_open[0] = len(self._clients)
            run_pass(list(self._clients))
            self._journal.sync()

    def established(self, endpoint, session_present):
        endpoint.had_connack = True
        number, _ = self._clients[endpoint]
        self._journal.add(f"connected {number}\n".encode())

    def _begin(self):
        self._count += 1
        number = self._count
        version = self._random.choice((4, 5))
        delay = self._random.choice((0, 0, 1, 2)) if version == 5 else 0
        durable = self._random.random() < 0.5
        will = Will(f"crash/will/{number}".encode(), b"%d" % number, 2, delay)
        options = {"will": will, "clean": not durable, "expiry": 60 if durable else 0}
        endpoint = OneConnection(self, f"will-{number}", self._port, version, **options)
        self._journal.add(f"begun {number} {delay}\n".encode())
        self._clients[endpoint] = (number, time.monotonic() + self._random.uniform(0.05, 1.5))

    def _end(self, endpoint, number, how):
        self._journal.add(f"{how} {number}\n".encode())
        del self._clients[endpoint]


class Specification:
    """A client of a run: what it is called and how it behaves."""

    def __init__(self, number, kind, version, name, *, qos=(1, 2), subscriptions=(), flapping=False, window=50):
        self.number = number
        self.kind = kind
        self.version = version
        self.name = name
        self.qos = qos
        self.subscriptions = subscriptions
        self.flapping = flapping
        self.window = window

    def build(self, owner, port):
        endpoint = {"own": OwnEndpoint, "paho": PahoEndpoint}[self.kind]
        return endpoint(owner, self.name, port, self.version, self.window, self.subscriptions)
