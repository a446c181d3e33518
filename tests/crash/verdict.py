"""What must hold at the end: compares what publishers had acknowledged with what each subscriber was given."""

import collections

import payload
from journal import ACKNOWLEDGED, DELIVERED, Reader

SHOWN_MAX = 8


class Records:
    """All that the workers have written down so far; `update` reads on."""

    def __init__(self, folder, subscribers):
        self._folder = folder
        self._subscribers = {subscriber.number: subscriber for subscriber in subscribers}
        self._acknowledged_readers = {}
        self._delivered_readers = {}
        # (publisher, QoS) to {number: kill after which it was acknowledged}.
        self.acknowledged = collections.defaultdict(dict)
        # Topic number to the number last acknowledged, by publisher.
        self.retained = {}
        # Subscriber or group to (publisher, QoS) to {number: how often it came}.
        self.delivered = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
        self.disorder = []
        self.twice = []
        self._highest = {}
        self.deliveries = 0

    def update(self):
        for path in self._folder.glob("*.acknowledged"):
            reader = self._acknowledged_readers.setdefault(path, Reader(path, ACKNOWLEDGED))
            for publisher, qos, number, kind, kill, _ in reader.read():
                if kind == payload.QUEUED:
                    self.acknowledged[publisher, qos][number] = kill
                else:
                    self.retained[publisher, number] = kind
        for path in self._folder.glob("*.delivered"):
            reader = self._delivered_readers.setdefault(path, Reader(path, DELIVERED))
            for record in reader.read():
                self._deliver(*record)
        return self

    def _deliver(self, number, publisher, published_qos, sequence, qos, kill):
        self.deliveries += 1
        subscriber = self._subscribers[number]
        stream = (publisher, published_qos)
        counter = self.delivered[subscriber.receiver][stream]
        counter[sequence] += 1
        if counter[sequence] > 1:
            if published_qos == 2 and subscriber.qos == 2:
                self.twice.append(
                    f"{subscriber.name}: QoS 2 message {sequence} of publisher {publisher} came "
                    f"{counter[sequence]} times (again after kill {kill})"
                )
            return
        if qos != min(published_qos, subscriber.qos):
            self.disorder.append(f"{subscriber.name}: a message of QoS {published_qos} came with QoS {qos}")
        if subscriber.shared:
            return
        # First deliveries only.
        highest = self._highest.get((number, stream), 0)
        if sequence < highest:
            self.disorder.append(
                f"{subscriber.name}: QoS {published_qos} message {sequence} of publisher {publisher} came first "
                f"after {highest} (after kill {kill})"
            )
        self._highest[number, stream] = max(highest, sequence)

    def missing(self, receivers):
        """One line for each receiver and stream that lacks acknowledged messages."""
        lines = []
        for receiver in receivers:
            for stream, numbers in self.acknowledged.items():
                absent = sorted(numbers.keys() - self.delivered[receiver][stream].keys())
                if absent:
                    shown = ", ".join(f"{number} (kill {numbers[number]})" for number in absent[:SHOWN_MAX])
                    lines.append(
                        f"{receiver}: {len(absent)} acknowledged QoS {stream[1]} messages of publisher {stream[0]} "
                        f"are missing: {shown}{', ...' if len(absent) > SHOWN_MAX else ''}"
                    )
        return lines

    def missing_from(self, receiver):
        return sum(
            len(numbers.keys() - self.delivered[receiver][stream].keys())
            for stream, numbers in self.acknowledged.items()
        )

    def total_acknowledged(self):
        return sum(map(len, self.acknowledged.values())) + len(self.retained)


def will_findings(folder):
    """No will twice; each one published whose client had CONNACK and lost its connection."""
    published = collections.Counter()
    for path in folder.glob("*.wills"):
        for line in path.read_text().splitlines():
            topic, _, body = line.partition(" ")
            if topic != f"crash/will/{body}":
                return [f"a will that nobody left: {line}"], {}
            published[int(body)] += 1
    ends = {}
    counts = collections.Counter()
    for line in (folder / "wills.journal").read_text().splitlines():
        what, number, *_ = line.split()
        if what in ("lost", "left", "unknown"):
            ends[int(number)] = what
            counts[what] += 1
    findings = [f"will {number} was published {count} times" for number, count in published.items() if count > 1]
    absent = [number for number, what in ends.items() if what == "lost" and not published[number]]
    if absent:
        findings.append(f"{len(absent)} wills of lost connections were not published: {absent[:SHOWN_MAX]}")
    counts["published"] = sum(published.values())
    return findings, counts
