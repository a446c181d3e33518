"""Checks of full and failing disks, and of who may use a data directory."""

import contextlib
import errno
import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import keeping
import shim
from checks import equal
from keeping import FAILED, UNUSABLE, Keeper, Sender, drain, refusal, store, subscribe
from process import Broker, emptied

BALLAST = {"DUNLIN_STORE_BALLAST_BYTES": "1 MiB"}
END_SECS = 20
RECOVER_SECS = 20
# How long the committer may stand still, and how much later it may be seen.
STALL_SECS = 30
LATE_SECS = 15
BACKUPS = 5


class Skipped(BaseException):
    """This machine cannot do it. No Exception, so that it is not taken for a failure."""


def all_checks(binary, folder):
    checks = [
        ("second process on the same data directory", second_process),
        ("directory that cannot be written", read_only),
        ("data directory from a newer version", newer_format),
        ("sync fails", sync_fails),
        ("sync fails in a checkpoint or in between", sync_fails_at_random),
        ("sync does not come back", sync_hangs),
        ("disk full: by the shim, every write fails", full_by_shim),
        ("disk full: a small file system", full_file_system),
        ("disk full: a start on a full disk", start_on_full_disk),
        ("store.max_bytes", max_bytes),
        ("backup while messages come", backup_under_load),
    ]
    for name, check in checks:
        yield name, lambda check=check: check(binary, folder)


@contextlib.contextmanager
def broker_in(binary, folder, environment=None, arguments=()):
    broker = Broker(binary, folder, environment={**BALLAST, **(environment or {})}, arguments=arguments)
    try:
        yield broker
    finally:
        broker.end()


def second_process(binary, folder):
    with broker_in(binary, emptied(folder / "second")) as first:
        first.start()
        subscribe(first)
        kept = store(first, range(1, 50))
        with broker_in(binary, folder / "other") as second:
            second.data = first.data
            refusal(second, UNUSABLE, str(first.data), f"process {first.process.pid}", "--data-dir")
        kept += store(first, range(50, 100))
        equal(drain(first), kept)


def read_only(binary, folder):
    if os.geteuid() != 0:
        raise Skipped("it needs root to make a file system read-only")
    home = emptied(folder / "read-only")
    with broker_in(binary, home) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 50))
        broker.kill()
        mounted = subprocess.run(["mount", "--bind", broker.data, broker.data], capture_output=True, text=True)
        if mounted.returncode:
            raise Skipped(f"no mounts here: {mounted.stderr.strip()}")
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", broker.data], check=True)
            refusal(broker, UNUSABLE, str(broker.data), "[Rr]ead-only|cannot be")
        finally:
            subprocess.run(["umount", broker.data], check=True)
        broker.start()
        equal(drain(broker), kept)


def newer_format(binary, folder):
    import sqlite3

    with broker_in(binary, emptied(folder / "newer")) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 50))
        equal(broker.stop(), 0)
        with contextlib.closing(sqlite3.connect(database(broker), isolation_level=None)) as connection:
            (before,) = connection.execute("SELECT v FROM meta WHERE k = 'format'").fetchone()
            connection.execute("UPDATE meta SET v = ? WHERE k = 'format'", (b"999",))
        refusal(broker, UNUSABLE, str(database(broker)), "999", "version")
        # Salvage is no way around it.
        broker.arguments = ["--salvage"]
        refusal(broker, UNUSABLE, str(database(broker)), "999", "version")
        broker.arguments = []
        with contextlib.closing(sqlite3.connect(database(broker), isolation_level=None)) as connection:
            connection.execute("UPDATE meta SET v = ? WHERE k = 'format'", (before,))
        broker.start()
        equal(drain(broker), kept)


def sync_fails(binary, folder):
    fails(binary, emptied(folder / "sync"), 0.0)


def sync_fails_at_random(binary, folder):
    for delay in (0.05, 0.3, 1.2):
        fails(binary, emptied(folder / "sync"), delay)


def sync_hangs(binary, folder):
    """A disk that does not answer: after 30 seconds the log says what is waited for, and the process ends with 1."""
    home = emptied(folder / "hang")
    fault = home / "fault"
    with broker_in(binary, home, shim.variables(home / "data", fault=fault)) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 200))
        sender = Sender(broker.port, window=10)
        sender.connect()
        set_fault(fault, "hang 1")
        began = time.monotonic()
        sender.send_numbers(range(100_000, 100_005))
        while sender.socket is not None and time.monotonic() < began + STALL_SECS + LATE_SECS:
            sender.run_once(1)
        equal((sender.accepted, sender.socket), ([], None))
        equal(broker.process.wait(END_SECS), FAILED)
        took = time.monotonic() - began
        if took < STALL_SECS - 2:
            raise AssertionError(f"it gave up after {took:.1f} s")
        log = broker.tail(10)
        if "store_failed" not in log or "a commit, which waits for the disk" not in log:
            raise AssertionError(f"the log does not say what was waited for:\n{log}")
        fault.unlink()
        broker.start()
        equal([number for number in drain(broker) if number < 100_000], kept)


def set_fault(fault, words):
    """Renamed into place: never seen half written."""
    fresh = fault.with_suffix(".new")
    fresh.write_text(words)
    fresh.rename(fault)


def fails(binary, home, delay):
    """From some moment on no sync succeeds: nothing more is acknowledged, and the process ends with 1."""
    fault = home / "fault"
    with broker_in(binary, home, shim.variables(home / "data", fault=fault)) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 200))
        sender = Sender(broker.port, window=10)
        sender.connect()
        until = time.monotonic() + delay
        number = 1000
        while time.monotonic() < until:
            number += 1
            sender.send_numbers([number])
        sender.settle()
        kept += sender.accepted
        sender.accepted.clear()
        set_fault(fault, f"sync {errno.EIO}")
        sender.send_numbers(range(100_000, 100_005))
        while sender.socket is not None:
            sender.run_once(END_SECS)
        equal(sender.accepted, [])
        equal(broker.process.wait(END_SECS), FAILED)
        log = broker.tail(10)
        if "store" not in log or not any(word in log.lower() for word in ("input/output error", "disk i/o", "os error 5")):
            raise AssertionError(f"the log does not say what failed:\n{log}")
        fault.unlink()
        broker.start()
        received = drain(broker)
        equal([number for number in received if number < 100_000], kept)


def full_by_shim(binary, folder):
    home = emptied(folder / "full-shim")
    fault = home / "fault"
    with broker_in(binary, home, shim.variables(home / "data", fault=fault)) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 200))
        sender = Sender(broker.port, window=10)
        sender.connect()
        set_fault(fault, f"write {errno.ENOSPC}")
        sender.send_numbers(range(1000, 1005))
        sender.settle()
        equal(sender.accepted, [])
        equal(set(sender.refused.values()), {0x97})
        fault.unlink()
        kept += until_accepted(broker, sender, 2000)
        broker.kill()
        broker.start()
        equal(drain(broker), kept)


def until_accepted(broker, sender, number):
    """Publishes until one is taken again; what was taken."""
    sender.accepted.clear()
    deadline = time.monotonic() + RECOVER_SECS
    while not sender.accepted:
        if time.monotonic() > deadline:
            raise AssertionError(f"still refused {RECOVER_SECS} s after there was room:\n{broker.tail(5)}")
        broker.check_alive()
        sender.send_numbers([number])
        sender.settle()
        number += 1
        time.sleep(0.2)
    return list(sender.accepted)


@contextlib.contextmanager
def small_file_system(folder, megabytes):
    if os.geteuid() != 0:
        raise Skipped("it needs root to mount a file system")
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "crash", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        raise Skipped(f"no mounts here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def full_file_system(binary, folder):
    home = emptied(folder / "full")
    # Of a size to the log's, as the default is.
    ballast = {"DUNLIN_STORE_BALLAST_BYTES": "32 MiB"}
    with small_file_system(home / "data", 160), broker_in(binary, home, ballast) as broker:
        broker.start()
        subscribe(broker)
        fills_and_recovers(broker)


def max_bytes(binary, folder):
    with broker_in(binary, emptied(folder / "bound"), {"DUNLIN_STORE_MAX_BYTES": "8 MiB"}) as broker:
        broker.start()
        subscribe(broker)
        fills_and_recovers(broker)


def fills_and_recovers(broker):
    """5.0 is told 0x97, 3.1.1 is held back; drains go on; what was taken is there, also after a kill; there is room again."""
    sender = Sender(broker.port, window=20)
    sender.connect()
    number = 1
    while not sender.refused:
        if number > 100_000:
            raise AssertionError("it never became full")
        sender.send_numbers(range(number, number + 50), 4000)
        number += 50
    sender.settle()
    equal(set(sender.refused.values()), {0x97})
    kept = list(sender.accepted)
    broker.check_alive()

    held = Sender(broker.port, version=4, name="held")
    held.connect()
    held.send_numbers([500_000], 4000)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        held.run_once(0.1)
    equal((held.accepted, held.socket is not None), ([], True))

    broker.kill()
    held.close()
    broker.start()
    keeper = Keeper(broker.port)
    equal(keeper.connect(), True)
    keeper.wait(lambda: len(keeper.numbers) >= len(kept))
    equal(keeper.numbers[: len(kept)], kept)
    keeper.disconnect()
    # It drained, so that there is room again.
    sender.connect()
    sender.refused.clear()
    again = until_accepted(broker, sender, 600_000)
    equal(held.connect(), True)
    held.wait(lambda: held.accepted == [500_000])
    rest = drain(broker)
    if not set(again) <= set(rest) or 500_000 not in rest:
        raise AssertionError(f"taken after there was room again and not delivered: {again} in {rest[:20]}")


def start_on_full_disk(binary, folder):
    home = emptied(folder / "full-start")
    with small_file_system(home / "data", 24), broker_in(binary, home) as broker:
        broker.start()
        subscribe(broker)
        kept = store(broker, range(1, 500))
        broker.kill()
        filler = home / "data" / "filler"
        with contextlib.suppress(OSError), open(filler, "wb") as file:
            while True:
                file.write(bytes(1 << 16))
        broker.start()
        keeper = Keeper(broker.port)
        equal(keeper.connect(), True)
        keeper.wait(lambda: len(keeper.numbers) >= len(kept))
        equal(keeper.numbers, kept)
        keeper.disconnect()
        filler.unlink()
        sender = Sender(broker.port)
        sender.connect()
        again = until_accepted(broker, sender, 600_000)
        equal(set(again) <= set(drain(broker)), True)


def backup_under_load(binary, folder):
    """A copy holds all that was acknowledged before it was begun, and of what came meanwhile a beginning without gaps."""
    home = emptied(folder / "backup")
    with broker_in(binary, home / "original") as broker:
        broker.start()
        subscribe(broker)
        sender = Sender(broker.port, window=50)
        sender.connect()
        numbers = iter(range(1, 1_000_000))
        for number in range(BACKUPS):
            sender.send_numbers(itertools.islice(numbers, 2000))
            sender.settle()
            before = len(sender.accepted)
            command = [broker.binary, "store", "backup", home / f"copy-{number}" / "data", "--data-dir", broker.data]
            copying = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            while copying.poll() is None:
                sender.send_numbers(itertools.islice(numbers, 50))
            sender.settle()
            words = copying.stdout.read()
            equal((copying.returncode, words.rstrip().endswith("read once more and sound")), (0, True))
            with broker_in(binary, home / f"copy-{number}") as copy:
                copy.start()
                found = drain(copy)
                equal(found, list(range(1, len(found) + 1)))
                if not before <= len(found) <= len(sender.accepted):
                    raise AssertionError(f"{len(found)} messages in a copy that was begun after {before} of {len(sender.accepted)}")
        equal(drain(broker), sender.accepted)


def database(broker):
    (found,) = broker.data.glob("*.sqlite3")
    return found
