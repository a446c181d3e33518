"""What a message of these tests says: who published it, at which QoS, and its number, with a checksum over all of it."""

import struct
import zlib

HEAD = struct.Struct("<2sHBIBI")
MARK = b"dc"

# What a message is for.
QUEUED, RETAINED, CLEARED = range(3)

# Most are small, some fill pages, a few are stored in pieces.
SIZES = ((1, 64), (7, 700), (97, 20_000), (1999, 1_300_000))


def build(publisher, qos, number, kind=QUEUED, size=None):
    if size is None:
        size = next(bytes for every, bytes in reversed(SIZES) if number % every == 0)
    head = HEAD.pack(MARK, publisher, qos, number, kind, 0)
    filler = bytes([number & 0xFF]) * max(0, size - len(head))
    return HEAD.pack(MARK, publisher, qos, number, kind, zlib.crc32(filler, zlib.crc32(head))) + filler


def read(payload):
    """(publisher, QoS, number, kind), or None if it is not what was sent."""
    if len(payload) < HEAD.size:
        return None
    mark, publisher, qos, number, kind, checksum = HEAD.unpack_from(payload)
    head = HEAD.pack(mark, publisher, qos, number, kind, 0)
    if mark != MARK or zlib.crc32(payload[HEAD.size :], zlib.crc32(head)) != checksum:
        return None
    return publisher, qos, number, kind
