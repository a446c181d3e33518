"""Where things are built, installed and kept."""

import os
import pathlib
import resource
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
FOLDER = TARGET / "peers"
CONFIGURATIONS = HERE / "configurations"
DOCUMENT = ROOT / "docs" / "BENCHMARKS.md"

# Whoever ends a run early leaves no broker behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def descriptors():
    """As many as this user may have, for everything that is started from here on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
