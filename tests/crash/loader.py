"""Builds and runs `load.c`."""

import json
import subprocess

import environment
from shim import compiled

RUN_SECS = 900


def program():
    return compiled("load.c", environment.FOLDER / "load")


def load(port, *words, seconds=RUN_SECS):
    """One run; what its last line says."""
    done = subprocess.run(
        [program(), "run", "--port", str(port), *map(str, words)], timeout=seconds, text=True, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def started(port, *words):
    """One that runs beside others, until it is killed."""
    return subprocess.Popen([program(), "run", "--port", str(port), *map(str, words)], stdout=subprocess.DEVNULL)


def probe(path, seconds):
    """How long a bare write with fdatasync takes here, in microseconds."""
    done = subprocess.run([program(), "probe", path, str(seconds)], text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)
