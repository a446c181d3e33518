"""Numbers that the processes of a run share, and the layout of its folder."""

from multiprocessing.sharedctypes import RawArray

PUBLISHERS_MAX = 64
SUBSCRIBERS_MAX = 64


class Shared:
    """Plain numbers, each written by one process only."""

    def __init__(self):
        # Written by whoever controls the run.
        self.stop = RawArray("i", 1)
        self.publishing = RawArray("i", 1)
        self.retaining = RawArray("i", 1)
        self.willing = RawArray("i", 1)
        self.flapping = RawArray("i", 1)
        self.kill = RawArray("i", 1)
        self.wanted = RawArray("i", [1] * SUBSCRIBERS_MAX)
        # Written by publishers: what was sent, by QoS, and what was acknowledged and is synced.
        self.sent = [RawArray("q", 3) for _ in range(PUBLISHERS_MAX)]
        self.acknowledged = RawArray("q", PUBLISHERS_MAX)
        self.acknowledged_retained = RawArray("q", PUBLISHERS_MAX)
        self.open = RawArray("q", PUBLISHERS_MAX)
        # Written by subscribers: the highest numbers that came, over all publishers and QoS.
        self.received = RawArray("q", SUBSCRIBERS_MAX)
        self.ready = RawArray("i", SUBSCRIBERS_MAX)
        # Written by the process with the wills.
        self.wills_open = RawArray("q", 1)
