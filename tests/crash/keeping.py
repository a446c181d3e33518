"""What the checks of faults do with a broker: store some messages for a session that is away, and take them later."""

import re
import time

import packets
import payload
from client import Client, Violation

TOPIC = b"crash/kept"
SESSION = "keeper"
# Exit codes: failed while running; the data directory cannot be used; the store is damaged.
FAILED, UNUSABLE, DAMAGED = 1, 5, 6


class Sender(Client):
    """Publishes at QoS 1 and keeps what was acknowledged."""

    def __init__(self, port, version=5, name="sender", **options):
        super().__init__(port, name, version, **options)
        self.accepted = []
        self.refused = {}

    def acknowledged(self, token, reason):
        if reason >= 0x80:
            self.refused[token] = reason
        else:
            self.accepted.append(token)

    def send_numbers(self, numbers, size=1000):
        """Without waiting for the last acknowledgements. False if the connection ended."""
        for number in numbers:
            while self.free() <= 0:
                if self.socket is None:
                    return False
                self.run_once(1)
            self.publish(TOPIC, payload.build(1, 1, number, size=size), 1, number)
        return self.socket is not None

    def settle(self):
        self.wait(lambda: not self.outbound)


class Keeper(Client):
    """The session that is away."""

    def __init__(self, port):
        super().__init__(port, SESSION, 5)
        self.numbers = []

    def delivered(self, publish):
        found = payload.read(publish.payload)
        if found is None:
            raise Violation("a message came with other bytes than were sent")
        self.numbers.append(found[2])


def subscribe(broker):
    keeper = Keeper(broker.port)
    keeper.connect()
    keeper.subscribe([(TOPIC, 1)])
    keeper.wait(lambda: not keeper.subscribing)
    keeper.disconnect()


def store(broker, numbers, size=1000):
    """All of them acknowledged."""
    sender = Sender(broker.port)
    sender.connect()
    sender.send_numbers(numbers, size)
    sender.settle()
    sender.disconnect()
    if sender.refused:
        raise Violation(f"refused: {sender.refused}")
    return list(numbers)


def drain(broker, keeper=None):
    """All that the session gets; ended by a message behind everything."""
    if keeper is None:
        keeper = Keeper(broker.port)
        if not keeper.connect():
            raise Violation("the session is gone")
    end = 1 << 30 | int(time.monotonic() * 1000) % (1 << 29)
    sender = Sender(broker.port, name="end", clean=True, expiry=0)
    sender.connect()
    sender.send_numbers([end], 64)
    sender.settle()
    sender.disconnect()
    keeper.wait(lambda: end in keeper.numbers)
    keeper.disconnect()
    return [number for number in keeper.numbers if number != end]


def refusal(broker, code, *words, seconds=30):
    """The broker does not start: with this code, and one error that has all these words. Gives the error."""
    position = broker.log_path.stat().st_size if broker.log_path.exists() else 0
    broker.spawn()
    found = broker.process.wait(seconds)
    log = broker.log_path.read_bytes()[position:].decode(errors="replace")
    errors = [line for line in log.splitlines() if line.startswith("dunlin:")]
    if found != code or len(errors) != 1:
        raise AssertionError(f"it ended with {found} instead of {code}, and said:\n{log}")
    missing = [word for word in words if not re.search(word, errors[0])]
    if missing:
        raise AssertionError(f"the error says nothing of {missing}: {errors[0]}")
    return errors[0]


def acknowledgement_of(wire, packet_id, kind=packets.PUBACK):
    found, reason = packets.read_acknowledgement(wire.expect(kind)[1])
    if found != packet_id:
        raise Violation(f"an acknowledgement for {found}")
    return reason
