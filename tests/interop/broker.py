"""Starts a broker on a free port and stops it again."""

import contextlib
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

START_SECS = 20
STOP_SECS = 20
ADDRESS = re.compile(r"127\.0\.0\.1:([1-9][0-9]*)")


@contextlib.contextmanager
def running(binary, stop=signal.SIGTERM):
    """Gives the port that the program printed. Its last lines are shown if it does not start or stop as it should."""
    with _started(binary, ["--listen", "127.0.0.1:0"], stop) as log:
        yield log.port()


@contextlib.contextmanager
def configured(binary, config, folder=None):
    """Runs the program with a configuration file; gives its log. Without `folder` it runs in one of its own that is gone
    afterwards."""
    with _started(binary, ["--config", str(config)], signal.SIGTERM, folder) as log:
        log.port()
        yield log


@contextlib.contextmanager
def _started(binary, options, stop, folder=None):
    with tempfile.TemporaryDirectory() as own:
        process = subprocess.Popen(
            # An absolute path, because the broker runs elsewhere.
            [pathlib.Path(binary).resolve(), *options],
            cwd=folder or own,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        log = _Log(process.stdout)
        try:
            yield log
            process.send_signal(stop)
            code = process.wait(timeout=STOP_SECS)
            if code != 0:
                raise SystemExit(f"{binary} ended with {code}:\n{log.tail()}")
        finally:
            process.kill()
            process.wait()


class _Log:
    """Reads all that the broker prints, so that it never waits for us."""

    def __init__(self, stream):
        self._lines = []
        self._port = None
        self._ready = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            self._lines.append(line)
            found = ADDRESS.search(line)
            if found and self._port is None:
                self._port = int(found[1])
                self._ready.set()
        self._ready.set()

    def port(self):
        self._ready.wait(START_SECS)
        if self._port is None:
            raise SystemExit(f"no address printed within {START_SECS} s:\n{self.tail()}")
        return self._port

    def wait_for(self, *words):
        """Until a line has all of these words."""
        deadline = time.monotonic() + START_SECS
        while not any(all(word in line for word in words) for line in list(self._lines)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no line with {words!r}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self):
        return "".join(self._lines[-40:])
