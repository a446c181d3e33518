"""A QoS 2 exchange with a crash at every step, on the publisher's side and on the subscriber's.

After each crash the client goes on by the standard from what it knows, and both messages, the one of the crash and one that
follows it with the same Packet Identifier, arrive exactly once.
"""

import contextlib
import time

import packets
from checks import equal
from client import Violation
from process import Broker, emptied
from wire import Wire

TOPIC = b"crash/exchange"
PACKET_ID = 7
# How long the broker has for what it was sent last, before it is killed.
DELAYS = (0.0, 0.0005, 0.002, 0.02)

PUBLISHER_STEPS = ("PUBLISH sent", "PUBREC received", "PUBREL sent", "PUBCOMP received")
SUBSCRIBER_STEPS = ("PUBLISH received", "PUBREC sent", "PUBREL received", "PUBCOMP sent")


def all_checks(binary, folder):
    for version in (4, 5):
        name = {4: "3.1.1", 5: "5.0"}[version]
        for step in PUBLISHER_STEPS:
            for delay in DELAYS if step.endswith("sent") else DELAYS[:1]:
                yield (
                    f"QoS 2 {name}: publisher, crash {delay * 1000:g} ms after {step}",
                    lambda version=version, step=step, delay=delay: publisher(binary, folder, version, step, delay),
                )
        for step in SUBSCRIBER_STEPS:
            for delay in DELAYS if step.endswith("sent") else DELAYS[:1]:
                yield (
                    f"QoS 2 {name}: subscriber, crash {delay * 1000:g} ms after {step}",
                    lambda version=version, step=step, delay=delay: subscriber(binary, folder, version, step, delay),
                )


def publisher(binary, folder, version, step, delay):
    with running(binary, folder) as broker:
        keeper = Wire(broker.port, "keeper", 5)
        keeper.subscribe(TOPIC, 2)
        keeper.disconnect()
        wire = Wire(broker.port, "publisher", version)
        send(wire, b"first", dup=False)
        if step != "PUBLISH sent":
            wire.expect_acknowledgement(packets.PUBREC, PACKET_ID)
        if step in ("PUBREL sent", "PUBCOMP received"):
            wire.send(packets.acknowledgement(packets.PUBREL, PACKET_ID))
        if step == "PUBCOMP received":
            wire.expect_acknowledgement(packets.PUBCOMP, PACKET_ID)
        crash(broker, delay)
        wire.close()

        wire = Wire(broker.port, "publisher", version)
        if step == "PUBLISH sent":
            # [MQTT-4.4.0-1]
            send(wire, b"first", dup=True)
            wire.expect_acknowledgement(packets.PUBREC, PACKET_ID)
        if step != "PUBCOMP received":
            wire.send(packets.acknowledgement(packets.PUBREL, PACKET_ID))
            complete(wire)
        send(wire, b"second", dup=False)
        wire.expect_acknowledgement(packets.PUBREC, PACKET_ID)
        wire.send(packets.acknowledgement(packets.PUBREL, PACKET_ID))
        complete(wire)
        wire.disconnect()

        keeper = Wire(broker.port, "keeper", 5)
        equal(keeper.session_present, True)
        received = []
        for _ in range(2):
            publish = keeper.expect_publish()
            received.append(publish.payload)
            keeper.send(packets.acknowledgement(packets.PUBREC, publish.packet_id))
        for _ in range(2):
            found, _ = packets.read_acknowledgement(keeper.expect(packets.PUBREL)[1])
            keeper.send(packets.acknowledgement(packets.PUBCOMP, found))
        keeper.quiet()
        equal(received, [b"first", b"second"])


def subscriber(binary, folder, version, step, delay):
    with running(binary, folder) as broker:
        wire = Wire(broker.port, "subscriber", version)
        wire.subscribe(TOPIC, 2)
        sender = Wire(broker.port, "sender", 5, clean=True, expiry=0)
        send(sender, b"first", dup=False)
        sender.expect_acknowledgement(packets.PUBREC, PACKET_ID)
        sender.send(packets.acknowledgement(packets.PUBREL, PACKET_ID))
        complete(sender)
        sender.disconnect()

        publish = wire.expect_publish()
        received = [publish.payload]
        held = {publish.packet_id}
        if step != "PUBLISH received":
            wire.send(packets.acknowledgement(packets.PUBREC, publish.packet_id))
        if step in ("PUBREL received", "PUBCOMP sent"):
            wire.expect_acknowledgement(packets.PUBREL, publish.packet_id)
            held.clear()
        if step == "PUBCOMP sent":
            wire.send(packets.acknowledgement(packets.PUBCOMP, publish.packet_id))
        crash(broker, delay)
        wire.close()

        wire = Wire(broker.port, "subscriber", version)
        equal(wire.session_present, True)
        sender = Wire(broker.port, "sender", 5, clean=True, expiry=0)
        send(sender, b"second", dup=False)
        sender.expect_acknowledgement(packets.PUBREC, PACKET_ID)
        sender.send(packets.acknowledgement(packets.PUBREL, PACKET_ID))
        complete(sender)
        sender.disconnect()

        while True:
            first, body = next_of(wire, packets.PUBLISH, packets.PUBREL)
            if first >> 4 == packets.PUBREL:
                packet_id, _ = packets.read_acknowledgement(body)
                held.discard(packet_id)
                wire.send(packets.acknowledgement(packets.PUBCOMP, packet_id))
                if b"second" in received and not held:
                    break
                continue
            publish = packets.read_publish(version, first, body)
            wire.send(packets.acknowledgement(packets.PUBREC, publish.packet_id))
            if publish.packet_id in held:
                # [MQTT-4.3.3-10] The same exchange, not a message.
                equal((publish.payload, publish.dup), (b"first", True))
                continue
            held.add(publish.packet_id)
            received.append(publish.payload)
        wire.quiet()
        equal(received, [b"first", b"second"])


def send(wire, body, dup):
    wire.send(packets.publish(wire.version, TOPIC, body, 2, PACKET_ID, dup))


def complete(wire):
    """PUBCOMP, which may say that the id is not known any more: that ends the exchange too."""
    first, body = wire.expect(packets.PUBCOMP)
    packet_id, reason = packets.read_acknowledgement(body)
    equal(packet_id, PACKET_ID)
    if reason not in (0, 0x92):
        raise Violation(f"PUBCOMP with {reason:#x}")


def next_of(wire, *kinds):
    found = wire.next()
    if found is None or found[0] >> 4 not in kinds:
        raise Violation(f"{wire.client_id}: {'closed' if found is None else packets.NAMES.get(found[0] >> 4)}")
    return found


def crash(broker, delay):
    if delay:
        time.sleep(delay)
    broker.check_alive()
    broker.kill()
    broker.start()


@contextlib.contextmanager
def running(binary, folder):
    broker = Broker(binary, emptied(folder / "exchange"), environment={"DUNLIN_STORE_BALLAST_BYTES": "1 MiB"})
    try:
        yield broker.start()
    finally:
        broker.end()
