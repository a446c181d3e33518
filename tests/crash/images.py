"""What a power cut may leave of a directory: replays what `shim.c` wrote down up to a moment, and decides at random what
became of everything that no completed sync covers.

What is modelled, after what ext4, XFS and btrfs promise:

- A completed fsync or fdatasync of a file makes durable every write to it that had returned before the call.
- Each later write may be there, missing, zeros (the size is there and the data is not), or torn at 512-byte boundaries,
  whatever became of the writes before and after it.
- A later change of a file's size may be there or not.
- Names (create, rename, unlink, mkdir) become durable in the order in which they were made: up to some point that is chosen
  at random, but at least as far as a sync of any directory, or of a file that was created by then, has brought them.

Not modelled: damage to bytes that nobody wrote since the last sync, and disks that lie about a sync.
"""

import bisect
import random
import struct

RECORD = struct.Struct("<IIIIQQQIIII")
MARK = 0x4D494853

OPEN, WRITE, TRUNCATE, ALLOCATE, SYNC, SYNC_DIRECTORY, RENAME, UNLINK, MAKE_DIRECTORY, REMOVE_DIRECTORY, UNKNOWN = range(1, 12)
CREATED, TRUNCATED = 1, 2
SECTOR = 512
# Calls that may be under way at once, seen from one moment.
CONCURRENT_MAX = 64

# Never durable: it is memory that processes share, and made anew at each start.
IGNORED_ENDINGS = ("-shm",)


class Record:
    """One call."""

    __slots__ = ("operation", "file", "before", "after", "offset", "flag", "path", "other", "data")

    def __init__(self, operation, file, before, after, offset, flag, path, other, data):
        self.operation = operation
        self.file = file
        self.before = before
        self.after = after
        self.offset = offset
        self.flag = flag
        self.path = path
        self.other = other
        self.data = data


def read_log(path):
    """All calls by the time at which they returned."""
    data = memoryview(path.read_bytes())
    records = []
    position = 0
    while position + RECORD.size <= len(data):
        fields = RECORD.unpack_from(data, position)
        mark, operation, process, file, before, after, offset, flag, path_bytes, other_bytes, data_bytes = fields
        if mark != MARK:
            raise ValueError(f"{path}: no record at {position}")
        start = position + RECORD.size
        position = start + path_bytes + other_bytes + data_bytes
        if position > len(data):
            break  # The process was killed while it wrote this record.
        name = bytes(data[start : start + path_bytes]).decode()
        other = bytes(data[start + path_bytes : start + path_bytes + other_bytes]).decode()
        body = data[position - data_bytes : position]
        records.append(Record(operation, (process, file), before, after, offset, flag, name, other, body))
    records.sort(key=lambda record: record.after)
    for record in records:
        if record.operation == UNKNOWN:
            raise ValueError(f"{path}: {record.path} is a call that is not modelled")
    return records


class File:
    """What is durable of a file, and what was done to it since."""

    def __init__(self):
        self.durable = bytearray()
        self.pending = []

    def sync(self, before):
        """What had returned by then is durable."""
        rest = []
        for record in self.pending:
            if record.after <= before:
                apply(self.durable, record)
            else:
                rest.append(record)
        self.pending = rest


def apply(content, record):
    if record.operation == WRITE:
        put(content, record.offset, record.data)
    elif record.operation == ALLOCATE:
        if len(content) < record.offset:
            content.extend(bytes(record.offset - len(content)))
    elif record.operation == TRUNCATE or (record.operation == OPEN and record.flag & TRUNCATED):
        resize(content, record.offset if record.operation == TRUNCATE else 0)


def put(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def resize(content, length):
    if length < len(content):
        del content[length:]
    else:
        content.extend(bytes(length - len(content)))


class Replay:
    """The directory as calls made it. Moments must be asked for in rising order."""

    def __init__(self, records):
        self._records = records
        self._returned = [record.after for record in records]
        self._done = 0
        # What names stand for now, and what they surely stand for after a power cut.
        self._names = {}
        self._durable_names = {}
        self._pending_names = []
        self._files = {}

    def advance(self, moment):
        end = bisect.bisect_right(self._returned, moment)
        for record in self._records[self._done : end]:
            self._take(record)
        self._done = max(self._done, end)

    def _take(self, record):
        operation = record.operation
        if operation == OPEN:
            file = self._names.get(record.path)
            if file is None:
                file = File()
                self._rename_pending("create", record.path, file)
            self._files[record.file] = file
            if record.flag & TRUNCATED and not record.flag & CREATED:
                file.pending.append(record)
        elif operation in (WRITE, TRUNCATE, ALLOCATE):
            self._files[record.file].pending.append(record)
        elif operation == SYNC:
            file = self._files[record.file]
            file.sync(record.before)
            self._sync_names(file)
        elif operation == SYNC_DIRECTORY:
            self._sync_names(None)
        elif operation == RENAME:
            self._rename_pending("rename", record.path, record.other)
        elif operation in (UNLINK, REMOVE_DIRECTORY):
            self._rename_pending("remove", record.path, None)
        elif operation == MAKE_DIRECTORY:
            self._rename_pending("directory", record.path, None)

    def _rename_pending(self, what, path, other):
        change = (what, path, other)
        change_names(self._names, change)
        self._pending_names.append(change)

    def _sync_names(self, file):
        """All of them, or those up to the creation of a file; a file that is known keeps the names as they are."""
        end = len(self._pending_names)
        if file is not None:
            created = [index for index, (what, _, other) in enumerate(self._pending_names) if what == "create" and other is file]
            end = created[-1] + 1 if created else 0
        for change in self._pending_names[:end]:
            change_names(self._durable_names, change)
        del self._pending_names[:end]

    def image(self, moment, seed):
        """The files and directories that a power cut at `moment` leaves, by path; None stands for a directory."""
        self.advance(moment)
        rng = random.Random(seed)
        # Calls that had begun and not returned.
        begun = {}
        for record in self._records[self._done : self._done + CONCURRENT_MAX]:
            if record.before <= moment and record.operation in (WRITE, TRUNCATE, ALLOCATE) and record.file in self._files:
                begun.setdefault(self._files[record.file], []).append(record)
        names = dict(self._durable_names)
        for change in self._pending_names[: rng.randint(0, len(self._pending_names))]:
            change_names(names, change)
        fate = Fate(rng)
        found = {}
        for path, file in names.items():
            if path.endswith(IGNORED_ENDINGS):
                continue
            found[path] = None if file is None else fate.content(file, begun.get(file, []))
        return found, fate


def change_names(names, change):
    what, path, other = change
    if what == "create":
        names[path] = other
    elif what == "directory":
        names[path] = None
    elif what == "remove":
        names.pop(path, None)
    elif what == "rename" and path in names:
        moved = {name: file for name, file in names.items() if name == path or name.startswith(path + "/")}
        for name, file in moved.items():
            del names[name]
            names[other + name[len(path) :]] = file


class Fate:
    """What becomes of what was not synced."""

    STYLES = ("dropped", "kept", "prefix", "zeroed", "each its own", "each its own", "each its own")

    def __init__(self, rng):
        self._rng = rng
        self.style = rng.choice(self.STYLES)
        self.counts = {}

    def content(self, file, begun):
        content = bytearray(file.durable)
        pending = file.pending + begun
        kept = self._rng.randint(0, len(pending))
        for index, record in enumerate(pending):
            how = self.style
            if how == "prefix":
                how = "kept" if index < kept else "torn" if index == kept else "dropped"
            elif how == "each its own":
                how = self._rng.choice(("kept", "dropped", "zeroed", "torn", "cut"))
            self.counts[how] = self.counts.get(how, 0) + 1
            if record.operation == WRITE:
                self._write(content, record, how)
            elif how in ("kept", "zeroed"):
                apply(content, record)
        return content

    def _write(self, content, record, how):
        offset, data = record.offset, record.data
        if how == "kept":
            put(content, offset, data)
        elif how == "zeroed":
            put(content, offset, bytes(len(data)))
        elif how == "cut":
            # The first sectors only.
            end = self._rng.randrange(len(data)) // SECTOR * SECTOR
            put(content, offset, data[:end])
        elif how == "torn":
            # By sectors of the file; the size may have grown over all of it.
            start = offset
            while start < offset + len(data):
                end = min(start // SECTOR * SECTOR + SECTOR, offset + len(data))
                if self._rng.random() < 0.5:
                    put(content, start, data[start - offset : end - offset])
                start = end


def write_image(found, folder):
    """Makes `folder` hold an image."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path, content in sorted(found.items()):
        whole = folder / path
        if content is None:
            whole.mkdir(parents=True, exist_ok=True)
            continue
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(content)
        whole.chmod(0o600)
