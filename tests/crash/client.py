"""A small MQTT client that keeps its Session State over connections and says what it sees packet by packet.

It exists beside Paho because it shows PUBREC (Paho only shows PUBCOMP), keeps deep windows cheaply, and lets a test stop
between any two packets. Nothing blocks but `wait`.
"""

import collections
import errno
import select
import socket
import time

import packets

READ_BYTES = 1 << 18
WAIT_SECS = 30


class Violation(Exception):
    """The broker did what the standard forbids, or said what this client did not expect."""


class Client:
    """One client with its Session State. Override `delivered`, `acknowledged`, `completed`, `established`."""

    def __init__(self, port, client_id, version, *, clean=False, expiry=3600, will=None, window=20, ids=65535):
        self.port = port
        self.client_id = client_id
        self.version = version
        self.clean = clean
        self.expiry = expiry
        self.will = will
        self.window = window
        self.established_once = False
        self.session_present = None
        # Outbound: Packet Identifier to [kind awaited, topic, payload, QoS, retain, token], in the order they were sent.
        self.outbound = collections.OrderedDict()
        # Inbound QoS 2: Packet Identifier to the payload, until PUBREL.
        self.inbound = {}
        self.subscribing = {}
        # Few ids are used again soon: an exchange that the broker did not forget is then taken for a new one.
        self._ids = max(ids, window + 8)
        self._next_id = 0
        self.socket = None
        self.connected = False
        self._limit = window
        self._received = bytearray()
        self._unsent = bytearray()

    # The connection.

    def open(self):
        """False if the broker does not listen."""
        self.close()
        try:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            self.socket = None
            return False
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.send(packets.connect(self.client_id, self.version, self.clean, self.expiry, self.will))
        return True

    def close(self):
        """Without DISCONNECT."""
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.connected = False
        self._received.clear()
        self._unsent.clear()

    def disconnect(self):
        if self.connected:
            self.send(packets.disconnect(self.version))
        self.close()

    def send(self, data):
        if self.socket is None:
            return
        self._unsent += data
        self.writable()

    def writable(self):
        if self.socket is None or not self._unsent:
            return
        try:
            sent = self.socket.send(self._unsent)
            del self._unsent[:sent]
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                self.close()

    def wants_write(self):
        return bool(self._unsent)

    def readable(self):
        """Takes what has come. The connection is closed when the broker has ended it."""
        if self.socket is None:
            return
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        answers = bytearray()
        for first, body in packets.take(self._received):
            self._handle(first, body, answers)
        if not data:
            self.close()
        elif answers:
            self.send(answers)

    # What the owner does.

    def free(self):
        """How many more messages fit into the window."""
        return min(self._limit, self.window) - len(self.outbound) if self.connected else 0

    def publish(self, topic, payload, qos, token=None, retain=False):
        """Sends a message of QoS 1 or 2; `token` comes back with its acknowledgements."""
        packet_id = self._free_id()
        awaited = packets.PUBACK if qos == 1 else packets.PUBREC
        self.outbound[packet_id] = [awaited, topic, payload, qos, retain, token]
        self.send(packets.publish(self.version, topic, payload, qos, packet_id, False, retain))

    def subscribe(self, filters):
        packet_id = self._free_id()
        self.subscribing[packet_id] = filters
        self.send(packets.subscribe(self.version, packet_id, filters))

    def wait(self, until, seconds=WAIT_SECS):
        """Runs the client until `until()` holds."""
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Violation(f"{self.client_id}: nothing came within {seconds} s")
            if self.socket is None:
                raise Violation(f"{self.client_id}: the broker closed the connection")
            self.run_once(min(left, 1))

    def run_once(self, seconds):
        if self.socket is None:
            return
        readable, writable, _ = select.select(
            [self.socket], [self.socket] if self._unsent else [], [], seconds
        )
        if writable:
            self.writable()
        if readable:
            self.readable()

    def connect(self):
        """Opens a connection and waits for CONNACK; True if the broker had the session."""
        if not self.open():
            raise Violation(f"{self.client_id}: the broker does not listen")
        self.wait(lambda: self.connected)
        return self.session_present

    # What happens, to be overridden.

    def established(self, session_present):
        """CONNACK has come."""

    def delivered(self, publish):
        """A message has come, for the first time as far as QoS 2 tells."""

    def acknowledged(self, token, reason):
        """PUBACK or PUBREC has come: from now on the message is the broker's."""

    def completed(self, token):
        """PUBACK or PUBCOMP has come."""

    def subscribed(self, filters, codes):
        """SUBACK has come."""

    def violated(self, words):
        """The broker did what it must not do."""
        raise Violation(f"{self.client_id}: {words}")

    # The protocol.

    def _handle(self, first, body, answers):
        kind = first >> 4
        if kind == packets.PUBLISH:
            self._handle_publish(packets.read_publish(self.version, first, body), answers)
        elif kind in (packets.PUBACK, packets.PUBREC, packets.PUBCOMP):
            self._handle_acknowledgement(kind, *packets.read_acknowledgement(body), answers)
        elif kind == packets.PUBREL:
            packet_id, _ = packets.read_acknowledgement(body)
            self.inbound.pop(packet_id, None)
            answers += packets.acknowledgement(packets.PUBCOMP, packet_id)
        elif kind == packets.CONNACK:
            self._handle_connack(packets.read_connack(self.version, body), answers)
        elif kind == packets.SUBACK:
            packet_id, codes = packets.read_suback(self.version, body)
            filters = self.subscribing.pop(packet_id, None)
            if filters is not None:
                self.subscribed(filters, codes)
        elif kind == packets.DISCONNECT:
            self.connected = False

    def _handle_connack(self, connack, answers):
        if connack.reason != 0:
            self.violated(f"CONNACK with {connack.reason:#x}")
            return
        self.connected = True
        self.session_present = connack.session_present
        self._limit = connack.receive_maximum
        # [MQTT-4.4.0-1] What was not acknowledged is sent again, in the order in which it was sent.
        for packet_id, (awaited, topic, payload, qos, retain, _) in self.outbound.items():
            if awaited == packets.PUBCOMP:
                answers += packets.acknowledgement(packets.PUBREL, packet_id)
            else:
                answers += packets.publish(self.version, topic, payload, qos, packet_id, True, retain)
        self.established(connack.session_present)
        self.established_once = True

    def _handle_publish(self, publish, answers):
        if publish.qos == 2:
            answers += packets.acknowledgement(packets.PUBREC, publish.packet_id)
            held = self.inbound.get(publish.packet_id)
            if held is not None:
                # [MQTT-2.2.1-4] An id stays with its message until PUBCOMP.
                if held != publish.payload:
                    self.violated(f"id {publish.packet_id} was given to another message before PUBREL")
                return
            self.inbound[publish.packet_id] = publish.payload
        elif publish.qos == 1:
            answers += packets.acknowledgement(packets.PUBACK, publish.packet_id)
        self.delivered(publish)

    def _handle_acknowledgement(self, kind, packet_id, reason, answers):
        entry = self.outbound.get(packet_id)
        if entry is None:
            if kind == packets.PUBREC:
                answers += packets.acknowledgement(packets.PUBREL, packet_id)
            return
        if kind == packets.PUBREC and entry[0] in (packets.PUBREC, packets.PUBCOMP):
            if entry[0] == packets.PUBREC:
                self.acknowledged(entry[5], reason)
            if reason >= 0x80:
                del self.outbound[packet_id]
                return
            entry[0] = packets.PUBCOMP
            entry[2] = b""
            answers += packets.acknowledgement(packets.PUBREL, packet_id)
        elif kind == entry[0]:
            del self.outbound[packet_id]
            if kind == packets.PUBACK:
                self.acknowledged(entry[5], reason)
            self.completed(entry[5])
        else:
            self.violated(f"{packets.NAMES[kind]} for {packet_id} instead of {packets.NAMES[entry[0]]}")

    def _free_id(self):
        while True:
            self._next_id = self._next_id % self._ids + 1
            if self._next_id not in self.outbound and self._next_id not in self.subscribing:
                return self._next_id
