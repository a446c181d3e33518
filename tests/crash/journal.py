"""Records on disk that count only when they are synced: what a client has seen survives whatever happens to it."""

import os
import struct

# An acknowledgement: publisher, QoS, number, kind of message, kill after which it came, monotonic time in microseconds.
ACKNOWLEDGED = struct.Struct("<HBIBIQ")
# A delivery: subscriber, publisher, QoS it was published with, number, QoS of the delivery, kill after which it came.
DELIVERED = struct.Struct("<HHBIBI")


class Journal:
    """An append-only file."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pending = bytearray()

    def add(self, record):
        self._pending += record

    def sync(self):
        """True if there was anything to write."""
        if not self._pending:
            return False
        self.write()
        os.fdatasync(self._file)
        return True

    def write(self):
        """For a file whose records need not survive this machine."""
        while self._pending:
            written = os.write(self._file, self._pending)
            del self._pending[:written]


class Reader:
    """Reads what was appended since the last time, whole records only."""

    def __init__(self, path, form):
        self._path = path
        self._form = form
        self._position = 0

    def read(self):
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = len(data) - len(data) % self._form.size
        self._position += whole
        yield from self._form.iter_unpack(data[:whole])
