"""Checks of damaged files: found before any listener opens, named, and with --salvage survived with a list of what is lost."""

import random
import re
import shutil
import time

from checks import equal
from disks import broker_in, database
from keeping import DAMAGED, Keeper, drain, refusal, store, subscribe
from process import Ended, emptied

MESSAGES = 400
FLIPS = 24
# A page with its head in SQLite's log.
FRAME_BYTES = 24 + 4096
# With the default the log is long enough to hold all that is acknowledged here: none of it is in the database yet.
LONG_LOG = {"DUNLIN_STORE_BALLAST_BYTES": "64 MiB"}
# The witness is written once a second.
WITNESS_SECS = 2.5


def all_checks(binary, folder):
    checks = [
        ("flipped byte in a message in the database", flipped_message),
        ("flipped bytes anywhere in the database", flipped_database),
        ("flipped bytes anywhere in the log", flipped_log),
        ("torn tail of the log", torn_tail),
        ("log cut within what was acknowledged", cut_log),
        ("database gone", lambda binary, folder: gone(binary, folder, "*.sqlite3")),
        ("log gone", lambda binary, folder: gone(binary, folder, "*.sqlite3-wal")),
        ("database and log gone", lambda binary, folder: gone(binary, folder, "*.sqlite3*")),
        ("zeroed page in the database", zeroed_page),
    ]
    for name, check in checks:
        yield name, lambda check=check: check(binary, folder)


def flipped_message(binary, folder):
    with broker_in(binary, emptied(folder / "flip")) as broker:
        kept = stopped_in_order(broker)
        path = database(broker)
        data = bytearray(path.read_bytes())
        # The filler of message 77 is its number, over and over.
        place = data.index(bytes([77]) * 200)
        data[place + 50] ^= 0x20
        path.write_bytes(data)
        refusal(broker, DAMAGED, re.escape(str(path)), "message", "--salvage")
        salvaged(broker, kept, [number for number in kept if number != 77])


def flipped_database(binary, folder):
    with broker_in(binary, emptied(folder / "flips")) as broker:
        kept = stopped_in_order(broker)
        each_flip(broker, kept, database(broker))


def flipped_log(binary, folder):
    with broker_in(binary, emptied(folder / "flips-log"), LONG_LOG) as broker:
        kept = killed(broker)
        each_flip(broker, kept, log(broker))


def each_flip(broker, kept, path):
    """A byte anywhere: it refuses in words, or everything is there."""
    rng = random.Random(5)
    copy = broker.folder / "copy"
    # What a killed broker answered questions on is a socket, and no file to copy.
    shutil.copytree(broker.data, copy, ignore=shutil.ignore_patterns("control.sock"))
    size = path.stat().st_size
    refused = 0
    for _ in range(FLIPS):
        shutil.rmtree(broker.data)
        shutil.copytree(copy, broker.data)
        data = bytearray(path.read_bytes())
        place = rng.randrange(size)
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            broker.start()
        except Ended as error:
            refused += 1
            code = broker.process.returncode
            if code != DAMAGED or "--salvage" not in str(error) or str(broker.data) not in str(error):
                raise AssertionError(f"byte {place} of {path.name}: it ended with {code}:\n{error}") from None
            # And with it, it starts.
            broker.arguments = ["--salvage"]
            broker.start()
            broker.arguments = []
            broker.kill()
            continue
        found = drain(broker)
        broker.kill()
        if found != kept:
            absent = sorted(set(kept) - set(found))
            raise AssertionError(f"byte {place} of {path.name}: it started without a word, and lacks {absent[:10]}")
    if not refused:
        raise AssertionError(f"none of {FLIPS} flipped bytes was found")


def torn_tail(binary, folder):
    """Two frames that were being written when the power went, of one of which half is there: nothing of them was
    acknowledged."""
    with broker_in(binary, emptied(folder / "torn"), LONG_LOG) as broker:
        kept = killed(broker)
        frame = bytearray(log(broker).read_bytes()[-FRAME_BYTES:])
        frame[1000:2000] = bytes(1000)
        with open(log(broker), "ab") as file:
            file.write(frame + frame[:2000])
        position = broker.log_path.stat().st_size
        broker.start()
        words = broker.log_path.read_bytes()[position:].decode(errors="replace")
        if not re.search("torn|cut", words):
            raise AssertionError(f"it does not say that a tail was cut off:\n{words}")
        equal(drain(broker), kept)


def cut_log(binary, folder):
    with broker_in(binary, emptied(folder / "cut"), LONG_LOG) as broker:
        kept = killed(broker)
        path = log(broker)
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.truncate(size // 2)
        refusal(broker, DAMAGED, re.escape(str(broker.data)), "--salvage")
        found = salvaged(broker, kept, None)
        if found != kept[: len(found)]:
            raise AssertionError(f"what is left is not a beginning: {found[:10]}")


def gone(binary, folder, pattern):
    with broker_in(binary, emptied(folder / "gone"), LONG_LOG) as broker:
        kept = killed(broker)
        for path in broker.data.glob(pattern):
            path.unlink()
        refusal(broker, DAMAGED, re.escape(str(broker.data)), "--salvage")
        salvaged(broker, kept, None)


def zeroed_page(binary, folder):
    with broker_in(binary, emptied(folder / "zeroed")) as broker:
        kept = stopped_in_order(broker)
        path = database(broker)
        data = bytearray(path.read_bytes())
        page = data.index(bytes([200]) * 200) // 4096
        data[page * 4096 : page * 4096 + 4096] = bytes(4096)
        path.write_bytes(data)
        refusal(broker, DAMAGED, re.escape(str(path)), "--salvage")
        salvaged(broker, kept, None)


def salvaged(broker, kept, expected):
    """It starts with --salvage, says what is lost, keeps the damaged files, and the next start needs no option."""
    position = broker.log_path.stat().st_size
    broker.arguments = ["--salvage"]
    broker.start()
    words = broker.log_path.read_bytes()[position:].decode(errors="replace")
    if not re.search("salvage|lost", words):
        raise AssertionError(f"it does not say what was lost:\n{words}")
    keeper = Keeper(broker.port)
    there = keeper.connect()
    if not there:
        keeper.subscribe([(b"crash/kept", 1)])
        keeper.wait(lambda: not keeper.subscribing)
    found = drain(broker, keeper)
    if expected is not None:
        equal(found, expected)
    if not set(found) <= set(kept):
        raise AssertionError(f"messages that nobody sent: {sorted(set(found) - set(kept))[:10]}")
    equal(broker.stop(), 0)
    broker.arguments = []
    broker.start()
    equal(drain(broker), [])
    return found


def filled(broker):
    broker.start()
    subscribe(broker)
    return store(broker, range(1, MESSAGES + 1))


def stopped_in_order(broker):
    kept = filled(broker)
    equal(broker.stop(), 0)
    return kept


def killed(broker):
    kept = filled(broker)
    time.sleep(WITNESS_SECS)
    broker.kill()
    return kept


def log(broker):
    (found,) = broker.data.glob("*.sqlite3-wal")
    return found
