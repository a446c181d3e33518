"""One connection, packet by packet: nothing is answered that the test does not answer itself."""

import socket
import time

import packets
from client import Violation

WAIT_SECS = 15


class Wire:
    def __init__(self, port, client_id, version, *, clean=False, expiry=3600, will=None):
        self.version = version
        self.client_id = client_id
        self._received = bytearray()
        self._packets = []
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(packets.connect(client_id, version, clean, expiry, will))
        connack = packets.read_connack(version, self.expect(packets.CONNACK)[1])
        if connack.reason:
            raise Violation(f"{client_id}: CONNACK with {connack.reason:#x}")
        self.session_present = connack.session_present

    def send(self, data):
        self._socket.sendall(data)

    def next(self, seconds=WAIT_SECS):
        """The next packet as (first byte, body); None if the broker closed the connection."""
        deadline = time.monotonic() + seconds
        while not self._packets:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Violation(f"{self.client_id}: nothing came within {seconds} s")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                return None
            self._received += data
            self._packets = packets.take(self._received)
        return self._packets.pop(0)

    def expect(self, kind, seconds=WAIT_SECS):
        found = self.next(seconds)
        if found is None:
            raise Violation(f"{self.client_id}: closed instead of {packets.NAMES[kind]}")
        if found[0] >> 4 != kind:
            raise Violation(f"{self.client_id}: {packets.NAMES.get(found[0] >> 4)} instead of {packets.NAMES[kind]}")
        return found

    def expect_publish(self):
        first, body = self.expect(packets.PUBLISH)
        return packets.read_publish(self.version, first, body)

    def expect_acknowledgement(self, kind, packet_id):
        found, reason = packets.read_acknowledgement(self.expect(kind)[1])
        if found != packet_id or reason >= 0x80:
            raise Violation(f"{self.client_id}: {packets.NAMES[kind]} for {found} with {reason:#x}")

    def subscribe(self, filter, qos):
        self.send(packets.subscribe(self.version, 1, [(filter, qos)]))
        _, codes = packets.read_suback(self.version, self.expect(packets.SUBACK)[1])
        if codes != [qos]:
            raise Violation(f"{self.client_id}: SUBACK with {codes}")

    def quiet(self, seconds=0.3):
        """Nothing more comes; shown by what the broker answers to a PINGREQ, not by waiting alone."""
        time.sleep(seconds)
        self.send(packets.pingreq())
        self.expect(packets.PINGRESP)

    def disconnect(self):
        self.send(packets.disconnect(self.version))
        self.close()

    def close(self):
        self._socket.close()
