#!/usr/bin/env python3
"""Reads a store with nothing but docs/FORMAT.md and SQLite: every byte of every record is accounted for.

What is written here follows that page and not the broker's code. The stores are those that the tests of the store keep for each
format; a folder may be named instead, of a broker that was stopped.
"""

import pathlib
import sqlite3
import struct
import sys
import unittest

import environment

FORMATS = environment.ROOT / "crates" / "store" / "tests" / "formats"
MASK = (1 << 64) - 1


def crc32c(data, table=[]):
    if not table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


class Record:
    """A value with its checksum, taken apart from its beginning; `end` says that nothing is left."""

    def __init__(self, value, key):
        body, found = value[:-4], struct.unpack("<I", value[-4:])[0]
        if crc32c(key + body) != found:
            raise AssertionError(f"the checksum of {value.hex()} is not that with the key {key!r}")
        self._rest = body

    def take(self, count):
        if len(self._rest) < count:
            raise AssertionError(f"{count} bytes are wanted, and there are {len(self._rest)}")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.take(8))[0]

    def varint(self):
        number = shift = 0
        while True:
            byte = self.u8()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def maybe(self):
        number = self.varint()
        return number - 1 if number else None

    def zigzag(self):
        number = self.varint()
        return number >> 1 if number & 1 == 0 else -(number + 1 >> 1)

    def field(self):
        return self.take(self.varint())

    def message(self):
        """A whole PUBLISH packet of MQTT 5.0: (topic, payload)."""
        first = self.u8()
        if first & ~1 != 0x30:
            raise AssertionError(f"a message begins with {first:#x}")
        return publish(self.take(self.varint()))

    def version(self):
        if self.u8() != 1:
            raise AssertionError("the version of a layout is not 1")

    def end(self):
        if self._rest:
            raise AssertionError(f"{len(self._rest)} bytes are left: {self._rest.hex()}")


def publish(body):
    topic_bytes = struct.unpack(">H", body[:2])[0]
    topic, rest = body[2 : 2 + topic_bytes], body[2 + topic_bytes :]
    properties = shift = used = 0
    while True:
        byte, used = rest[used], used + 1
        properties |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return topic.decode(), rest[used + properties :]


def spread(value):
    value = value + 0x9E3779B97F4A7C15 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def pair(first, second):
    return spread(spread(first) ^ second)


def text_pair(number, text):
    return pair(number, crc32c(text) << 32 | crc32c(b"dunlin" + text))


class Store:
    """Everything in a folder, read and held against its checksums and counts."""

    TABLES = ("namespace", "session", "sub", "inq2", "cursor", "msg", "retained")

    def __init__(self, folder):
        self._folder = folder
        # Nothing is written, and no log is waited for: it was closed in order.
        self._database = sqlite3.connect(f"file:{folder / 'store.sqlite3'}?mode=ro&immutable=1", uri=True)
        self._numbers = {table: [] for table in self.TABLES}
        self.sessions, self.messages, self.retained, self.cursors = {}, {}, {}, {}
        self.subscriptions, self.inbound = [], []

    def read(self):
        for name in self.TABLES:
            getattr(self, "_" + name)()
        self._meta()
        self._witness()
        return self

    def _rows(self, sql):
        return self._database.execute(sql)

    def _meta(self):
        meta = dict(self._rows("SELECT k, v FROM meta"))
        assert sorted(meta) == ["format", "state", "uuid"], sorted(meta)
        assert meta["format"] == b"1" and len(bytes.fromhex(meta["uuid"].decode())) == 16, meta
        state = Record(meta["state"], b"state")
        state.version()
        self.last, self.next_session, self.next_retained = state.u64(), state.u32(), state.u64()
        self.newest, self.clean = state.u64() - 1, state.u8()
        for table in self.TABLES:
            tally = state.u64(), state.u64()
            found = len(self._numbers[table]), sum(self._numbers[table]) & MASK
            assert tally == found, (table, tally, found)
        state.end()
        assert all(mid <= self.last for mid in self.messages)
        assert all(sno < self.next_session for sno in self.sessions)
        assert all(number < self.next_retained for number, _ in self.retained.values())

    def _witness(self):
        content = (self._folder / "witness").read_bytes()
        assert len(content) == 16, content
        witness = Record(content, b"DUNW")
        assert witness.take(4) == b"DUNW" and witness.u64() <= self.last
        witness.end()

    def _namespace(self):
        for ns, name in self._rows("SELECT ns, name FROM namespace"):
            self._numbers["namespace"].append(text_pair(ns, name.encode()))

    def _session(self):
        for sno, ns, kind, name, value in self._rows("SELECT sno, ns, kind, name, v FROM session"):
            record = Record(value, u32(sno) + u32(ns) + bytes([kind]) + name.encode())
            record.version()
            expiry, owner, ended, will = record.varint(), record.field().decode(), record.maybe(), record.u8()
            if will:
                will = (will - 1, record.varint(), record.message())
            record.end()
            self.sessions[sno] = (ns, kind, name, expiry, owner, ended, will or None)
            self._numbers["session"].append(pair(sno, 0))

    def _sub(self):
        for sno, filter, value in self._rows("SELECT sno, filter, v FROM sub"):
            record = Record(value, u32(sno) + filter.encode())
            record.version()
            self.subscriptions.append((sno, filter, record.u8(), record.varint()))
            record.end()
            self._numbers["sub"].append(text_pair(sno, filter.encode()))

    def _inq2(self):
        for sno, pkid in self._rows("SELECT sno, pkid FROM inq2"):
            self.inbound.append((sno, pkid))
            self._numbers["inq2"].append(pair(sno, pkid))

    def _cursor(self):
        for sno, value in self._rows("SELECT sno, v FROM cursor"):
            record = Record(value, u32(sno))
            record.version()
            last = through = record.varint()
            ranges = []
            for _ in range(record.varint()):
                first = last + record.varint()
                last = first + record.varint()
                ranges.append((first, last))
            released, before = [], through
            for _ in range(record.varint()):
                before += record.varint()
                released.append(before)
            record.end()
            self.cursors[sno] = (through, ranges, released)
            self._numbers["cursor"].append(pair(sno, 0))

    def _msg(self):
        for mid, head, body in self._rows("SELECT mid, hdr, body FROM msg"):
            record = Record(head, u64(mid))
            record.version()
            flags, received, expires, publisher = record.u8(), record.varint(), record.maybe(), record.maybe()
            targets, sno = [], 0
            for _ in range(record.varint()):
                sno += record.zigzag()
                place, own = record.varint(), record.u8()
                ids = [record.varint() for _ in range(record.varint())] if own & 8 else []
                targets.append((sno, place, own & 3, own >> 2 & 1, ids))
            counted, body_bytes, body_crc = record.varint(), record.varint(), record.u32()
            record.end()
            assert (len(body), crc32c(body)) == (body_bytes, body_crc), mid
            whole = Record(body + u32(crc32c(body)), b"")
            message = whole.message()
            whole.end()
            assert counted >= len(message[1]), (counted, message)
            self.messages[mid] = (flags & 3, flags >> 2 & 1, received, expires, publisher, targets, message)
            self._numbers["msg"].append(pair(mid, 0))

    def _retained(self):
        for ns, topic, number, value in self._rows("SELECT ns, topic, num, v FROM retained"):
            record = Record(value, u32(ns) + u64(number) + topic.encode())
            record.version()
            qos, received, expires, message = record.u8(), record.varint(), record.maybe(), record.message()
            record.end()
            assert message[0] == topic, (message, topic)
            self.retained[ns, topic] = (number, (qos, received, expires, message))
            self._numbers["retained"].append(text_pair(ns, topic.encode()))


class Formats(unittest.TestCase):
    """The store of `crates/store/tests/formats.rs`, which has every field in use."""

    def test_format_1(self):
        store = Store(FORMATS / "1").read()
        message = ("weather/station/7", "18.5 °C".encode())
        never = 4_294_967_295
        self.assertEqual(
            store.sessions,
            {
                1: (0, 0, "reader", never, "", None, None),
                2: (0, 0, "left", 7200, "somebody", 1_700_000_000_123, None),
                3: (4, 0, "reader", 60, "", None, (2, 30, message)),
                300: (0, 1, "$share/g/weather/#", never, "", None, None),
            },
        )
        # No Local, Retain As Published and Retain Handling are bits 2, 3, and 4 with 5.
        self.assertEqual(
            sorted(store.subscriptions),
            [(1, "weather/#", 0x02, 0), (2, "$share/g/weather/#", 0x22, 0), (2, "weather/+/7", 0x1E, 268_435_455)],
        )
        self.assertEqual(sorted(store.inbound), [(1, 1), (1, 65_535)])
        self.assertEqual(store.cursors[1], (4, [(6, 7)], []))
        self.assertEqual(store.cursors[2], (0, [(2, 2)], [1, 5]))
        self.assertEqual(store.cursors[300], (0, [(3, 3)], []))
        self.assertEqual(
            store.messages[5],
            (
                2, 1, 1_700_000_000_005, 1_700_003_600_005, 3,
                [(2, 5, 2, 1, [1, 268_435_455]), (300, 5, 1, 0, []), (1, 5, 1, 0, [])],
                message,
            ),
        )  # fmt: skip
        self.assertEqual(store.messages[10][5], [(1, 10, 1, 0, [])])
        self.assertEqual(
            store.retained,
            {
                (0, "weather/station/7"): (5, (2, 1_700_000_000_777, None, message)),
                (4, "weather/station/7"): (9, (2, 1_700_000_000_777, 1, message)),
            },
        )
        self.assertEqual((store.last, store.next_session, store.next_retained, store.clean), (10, 301, 10, 1))


if __name__ == "__main__":
    if len(sys.argv) > 1 and pathlib.Path(sys.argv[1]).is_dir():
        found = Store(pathlib.Path(sys.argv[1])).read()
        print(
            f"{len(found.sessions)} sessions, {len(found.subscriptions)} subscriptions, {len(found.messages)} messages, "
            f"{len(found.retained)} retained messages: every byte is as docs/FORMAT.md has it"
        )
    else:
        unittest.main()
