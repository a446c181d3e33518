"""Clients that remember when what happened, so that they can be put back to any moment."""

import collections
import time

import packets
import payload
from client import Client

MARKER_PUBLISHER = 999


class HistoryClient(Client):
    """Everything of its Session State that changed, with the monotonic time in nanoseconds."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.events = []
        self.subscriptions = []
        self.violations = []
        # The QoS of what came of the publisher whose messages are the last.
        self.marked = set()

    def note(self, *event, at=None):
        self.events.append((at or time.monotonic_ns(), *event))

    def put_back(self, history, moment):
        """Takes the Session State that another client of that name had at a moment; what it had seen by then."""
        seen = []
        outbound, inbound = collections.OrderedDict(), {}
        for at, what, *rest in history.events:
            if at > moment:
                break
            if what == "sent":
                packet_id, qos, topic, body, retain, token = rest
                awaited = packets.PUBACK if qos == 1 else packets.PUBREC
                outbound[packet_id] = [awaited, topic, body, qos, retain, token]
            elif what == "received":
                outbound[rest[0]][0] = packets.PUBCOMP
            elif what == "completed":
                outbound.pop(rest[0], None)
            elif what == "held":
                inbound[rest[0]] = rest[1]
            elif what == "released":
                inbound.pop(rest[0], None)
            seen.append((at, what, *rest))
        self.outbound = outbound
        self.inbound = inbound
        self._next_id = max(outbound, default=0)
        return seen

    def established(self, session_present):
        self.note("connected", session_present)

    def subscribed(self, filters, codes):
        self.note("subscribed")

    def violated(self, words):
        self.violations.append(f"{self.client_id}: {words}")

    def publish(self, topic, body, qos, token=None, retain=False):
        # The broker may have it before the call returns.
        at = time.monotonic_ns()
        super().publish(topic, body, qos, token, retain)
        self.note("sent", next(reversed(self.outbound)), qos, topic, body, retain, token, at=at)

    def acknowledged(self, token, reason):
        self.note("acknowledged", token, reason)

    def delivered(self, publish):
        message = payload.read(publish.payload)
        at = time.monotonic_ns()
        self.note("delivered", message, publish.qos, at=at)
        if publish.qos == 2:
            # At the same moment: no cut comes between a message and its id.
            self.note("held", publish.packet_id, publish.payload, at=at)
        if message and message[0] == MARKER_PUBLISHER:
            self.marked.add(message[1])

    def _handle_acknowledgement(self, kind, packet_id, reason, answers):
        super()._handle_acknowledgement(kind, packet_id, reason, answers)
        if kind == packets.PUBREC and packet_id in self.outbound:
            self.note("received", packet_id)
        elif packet_id not in self.outbound:
            self.note("completed", packet_id)

    def _handle(self, first, body, answers):
        super()._handle(first, body, answers)
        if first >> 4 == packets.PUBREL:
            self.note("released", packets.read_acknowledgement(body)[0])
