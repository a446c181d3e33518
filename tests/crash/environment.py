"""Where things are built and kept, and the interpreter that has Paho's client: the one that tests/interop installs."""

import os
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
FOLDER = TARGET / "crash"

# Whoever ends a run early leaves no broker behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

# For `tools` and `checks`.
sys.path.append(str(HERE.parent / "interop"))


def with_paho():
    """Runs this program again by that interpreter, unless it already is."""
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError:
        import tools

        python = str(tools.python())
        os.execv(python, [python, *sys.argv])
