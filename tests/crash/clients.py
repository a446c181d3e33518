"""The clients of a run with kills: who publishes, who listens, and in which process each lives."""

from workers import Specification

QUEUED = b"crash/queued/+"
WILLS = b"crash/will/+"


class Subscriber(Specification):
    """A durable subscriber of all that is published."""

    def __init__(self, number, kind, version, name, qos, *, group=None, flapping=False, wills=False):
        filter = b"$share/%s/%s" % (group.encode(), QUEUED) if group else WILLS if wills else QUEUED
        super().__init__(number, kind, version, name, subscriptions=[(filter, qos)], flapping=flapping)
        self.qos = qos
        self.shared = group is not None
        # What messages are counted for: a group counts as one.
        self.receiver = f"group {group}" if group else name


PUBLISHERS = [
    [Specification(0, "own", 5, "publisher-own-5", window=100), Specification(1, "own", 4, "publisher-own-3", window=30)],
    [Specification(2, "paho", 5, "publisher-paho-5"), Specification(3, "paho", 4, "publisher-paho-3", window=20)],
]

ONLINE = [
    Subscriber(0, "paho", 5, "online-2", 2),
    Subscriber(1, "paho", 4, "online-1", 1),
]
OFFLINE = [
    Subscriber(2, "own", 5, "offline-2", 2),
    Subscriber(3, "paho", 4, "offline-1", 1),
]
FLAPPING = [
    Subscriber(4, "paho", 4, "flapping-2", 2, flapping=True),
    Subscriber(5, "own", 5, "flapping-1", 1, flapping=True),
]
GROUP = [
    Subscriber(6, "paho", 5, "member-a", 2, group="g"),
    Subscriber(7, "own", 4, "member-b", 2, group="g", flapping=True),
    Subscriber(8, "own", 5, "wills", 2, wills=True),
]
SUBSCRIBERS = [ONLINE, OFFLINE, FLAPPING, GROUP]
