#!/usr/bin/env python3
"""Shows that the power cuts of `images.py` are both survivable and deadly: SQLite in WAL mode keeps every commit over them
when it syncs, and loses commits when it does not."""

import pathlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import unittest

import images
import shim

COMMITS = 300
IMAGES = 60

# Prints when each commit had returned, in nanoseconds.
WRITER = """
import sqlite3, sys, time
path, synchronous, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA page_size=4096")
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=" + synchronous)
database.execute("PRAGMA wal_autocheckpoint=50")
database.execute("CREATE TABLE record (number INTEGER PRIMARY KEY, body BLOB)")
for number in range(1, commits + 1):
    database.execute("INSERT INTO record VALUES (?, ?)", (number, bytes([number & 255]) * 700))
    print(number, time.monotonic_ns(), flush=True)
"""


class PowerCuts(unittest.TestCase):
    def lost(self, synchronous):
        """How many images lack a commit that had returned, or cannot be opened."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            data, log = folder / "data", folder / "log"
            data.mkdir()
            written = subprocess.run(
                [sys.executable, "-c", WRITER, data / "records.db", synchronous, str(COMMITS)],
                env=shim.variables(data, log), check=True, capture_output=True, text=True,
            )  # fmt: skip
            commits = [tuple(map(int, line.split())) for line in written.stdout.splitlines()]
            self.assertEqual(len(commits), COMMITS)
            replay = images.Replay(images.read_log(log))
            rng = random.Random(1)
            lost = 0
            for index, (number, moment) in enumerate(sorted(rng.sample(commits, IMAGES))):
                found, _ = replay.image(moment, index)
                folder_of_image = folder / f"image-{index}"
                images.write_image(found, folder_of_image)
                lost += not holds(folder_of_image / "records.db", number)
            return lost

    def test_nothing_is_lost_with_syncs(self):
        self.assertEqual(self.lost("FULL"), 0)

    def test_commits_are_lost_without_syncs(self):
        self.assertGreater(self.lost("OFF"), IMAGES // 4)

    def test_commits_are_lost_when_only_checkpoints_sync(self):
        self.assertGreater(self.lost("NORMAL"), IMAGES // 4)


def holds(path, number):
    """Whether the records from 1 to `number` are there and whole."""
    database = sqlite3.connect(path)
    try:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            return False
        rows = database.execute("SELECT number, body FROM record WHERE number <= ? ORDER BY number", (number,)).fetchall()
        return rows == [(each, bytes([each & 255]) * 700) for each in range(1, number + 1)]
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()


if __name__ == "__main__":
    unittest.main()
