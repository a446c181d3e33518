"""MQTT 3.1.1 and 5.0 packets, as far as the clients of these tests send and read them."""

import collections
import struct

(
    CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ,
    PINGRESP, DISCONNECT,
) = range(1, 15)  # fmt: skip

NAMES = {
    CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK", PUBREC: "PUBREC", PUBREL: "PUBREL", PUBCOMP: "PUBCOMP",
    SUBACK: "SUBACK", UNSUBACK: "UNSUBACK", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT",
}  # fmt: skip

Will = collections.namedtuple("Will", "topic payload qos delay")
Publish = collections.namedtuple("Publish", "topic payload qos dup retain packet_id")
Connack = collections.namedtuple("Connack", "session_present reason receive_maximum")

RECEIVE_MAXIMUM = 0x21
# How many bytes the value of a property has; -1 a string or binary, -2 a pair of strings, 0 a variable byte integer.
PROPERTY_SIZES = {
    0x01: 1, 0x02: 4, 0x03: -1, 0x08: -1, 0x09: -1, 0x0B: 0, 0x11: 4, 0x12: -1, 0x13: 2, 0x15: -1, 0x16: -1, 0x17: 1,
    0x18: 4, 0x19: 1, 0x1A: -1, 0x1C: -1, 0x1F: -1, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x26: -2, 0x27: 4,
    0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip


def connect(client_id, version, clean=False, expiry=0, will=None, keep_alive=120, receive_maximum=None):
    """`expiry` counts for 5.0 only: a 3.1.1 session that is not clean stays."""
    flags = 0x02 if clean else 0
    if will:
        flags |= 0x04 | will.qos << 3
    body = _text(b"MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive)
    if version == 5:
        properties = struct.pack(">BI", 0x11, expiry)
        if receive_maximum:
            properties += struct.pack(">BH", RECEIVE_MAXIMUM, receive_maximum)
        body += _variable(len(properties)) + properties
    body += _text(client_id.encode())
    if will:
        if version == 5:
            properties = struct.pack(">BI", 0x18, will.delay)
            body += _variable(len(properties)) + properties
        body += _text(will.topic) + _text(will.payload)
    return _packet(CONNECT << 4, body)


def publish(version, topic, payload, qos, packet_id=0, dup=False, retain=False):
    head = _text(topic)
    if qos:
        head += struct.pack(">H", packet_id)
    if version == 5:
        head += b"\0"
    first = PUBLISH << 4 | dup << 3 | qos << 1 | retain
    return bytes([first]) + _variable(len(head) + len(payload)) + head + payload


def acknowledgement(kind, packet_id):
    """PUBACK, PUBREC, PUBREL or PUBCOMP that says success, which has the same form in both versions."""
    return struct.pack(">BBH", kind << 4 | (2 if kind == PUBREL else 0), 2, packet_id)


def subscribe(version, packet_id, filters):
    """`filters` holds pairs of filter and QoS."""
    body = struct.pack(">H", packet_id) + (b"\0" if version == 5 else b"")
    for filter, qos in filters:
        body += _text(filter) + bytes([qos])
    return _packet(SUBSCRIBE << 4 | 2, body)


def unsubscribe(version, packet_id, filters):
    body = struct.pack(">H", packet_id) + (b"\0" if version == 5 else b"")
    return _packet(UNSUBSCRIBE << 4 | 2, body + b"".join(map(_text, filters)))


def disconnect(version):
    del version  # The short form means a normal disconnection in both.
    return bytes([DISCONNECT << 4, 0])


def pingreq():
    return bytes([PINGREQ << 4, 0])


def take(buffer):
    """The complete packets at the start of a bytearray as (first byte, body), taken out of it."""
    packets = []
    start, end = 0, len(buffer)
    while end - start >= 2:
        length, shift, position = 0, 0, start + 1
        while position < end:
            byte = buffer[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        else:
            break
        if end - position < length:
            break
        packets.append((buffer[start], bytes(buffer[position : position + length])))
        start = position + length
    del buffer[:start]
    return packets


def read_connack(version, body):
    receive_maximum = 65535
    if version == 5 and body[1] < 0x80:
        for identifier, value in _properties(body, 2):
            if identifier == RECEIVE_MAXIMUM:
                (receive_maximum,) = struct.unpack(">H", value)
    return Connack(bool(body[0] & 1), body[1], receive_maximum)


def read_publish(version, first, body):
    qos = first >> 1 & 3
    end = 2 + (body[0] << 8 | body[1])
    topic = body[2:end]
    packet_id = 0
    if qos:
        packet_id = body[end] << 8 | body[end + 1]
        end += 2
    if version == 5:
        length, end = _read_variable(body, end)
        end += length
    return Publish(topic, body[end:], qos, bool(first & 8), bool(first & 1), packet_id)


def read_acknowledgement(body):
    """Packet Identifier and Reason Code of PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def read_suback(version, body):
    """Packet Identifier and the codes."""
    start = 2
    if version == 5:
        length, start = _read_variable(body, 2)
        start += length
    return body[0] << 8 | body[1], list(body[start:])


def _properties(body, start):
    length, position = _read_variable(body, start)
    end = position + length
    while position < end:
        identifier = body[position]
        position += 1
        size = PROPERTY_SIZES[identifier]
        begin = position
        if size > 0:
            position += size
        elif size == 0:
            _, position = _read_variable(body, position)
        else:
            for _ in range(-size):
                position += 2 + (body[position] << 8 | body[position + 1])
        yield identifier, body[begin:position]


def _read_variable(body, position):
    value, shift = 0, 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _packet(first, body):
    return bytes([first]) + _variable(len(body)) + body


def _variable(value):
    if value < 0x80:
        return bytes([value])
    encoded = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        encoded.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def _text(value):
    return struct.pack(">H", len(value)) + value
