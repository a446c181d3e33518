"""The broker's process: started on a data directory, killed, started again on the same port."""

import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

READY_SECS = 60
STOP_SECS = 30
# Below the ports that the kernel gives to clients: one of those could connect to itself while nobody listens.
PORTS = range(20000, 32000)


class Ended(Exception):
    """The broker ended by itself, or never became ready."""


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Broker:
    """`kill` and `start` any number of times. What it prints is kept in `log_path`."""

    # How long after being started the last one was ready.
    ready_secs = 0.1

    def __init__(self, binary, folder, port=None, environment=None, arguments=(), wrapper=()):
        self.binary = pathlib.Path(binary).resolve()
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.port = port or free_port()
        self.log_path = self.folder / "broker.log"
        self.environment = dict(environment or {})
        self.arguments = list(arguments)
        self.wrapper = list(wrapper)
        self.process = None
        self._ready = None
        self._log = None

    def command(self):
        listen = f"127.0.0.1:{self.port}"
        return [self.binary, "--listen", listen, "--data-dir", self.data, *self.arguments]

    def spawn(self):
        """Starts it and does not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ready = threading.Event()
        self._spawned = time.monotonic()
        self._log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [*self.wrapper, *map(str, self.command())],
            cwd=self.folder,
            env={**os.environ, **self.settings(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        threading.Thread(target=self._watch, args=(self.process, self._ready), daemon=True).start()

    def settings(self):
        return {
            "DUNLIN_LIMITS_QUEUE_MESSAGES_MAX": "2000000",
            "DUNLIN_LIMITS_QUEUE_BYTES_MAX": "4 GiB",
            "DUNLIN_LIMITS_SHARED_GROUP_QUEUE_MESSAGES_MAX": "2000000",
            "DUNLIN_LIMITS_SHARED_GROUP_QUEUE_BYTES_MAX": "4 GiB",
        }

    def wait_ready(self, seconds=READY_SECS):
        deadline = time.monotonic() + seconds
        while not self._ready.wait(0.005):
            if self.process.poll() is not None:
                raise Ended(f"the broker ended with {self.process.returncode} at its start:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Ended(f"no ready line within {seconds} s:\n{self.tail()}")
        self.ready_secs = self._ready_at - self._spawned

    def start(self, seconds=READY_SECS):
        self.spawn()
        self.wait_ready(seconds)
        return self

    def check_alive(self):
        if self.process.poll() is not None:
            raise Ended(f"the broker ended with {self.process.returncode}:\n{self.tail()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self, seconds=STOP_SECS):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Ended(f"SIGTERM did not end it within {seconds} s:\n{self.tail()}") from None

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def tail(self, lines=25):
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _watch(self, process, ready):
        for line in process.stdout:
            if re.search(rb"listening on \S*:%d\b" % self.port, line):
                self._ready_at = time.monotonic()
                ready.set()


class Mosquitto(Broker):
    """Another broker behind the same face, at its safest setting: what it keeps is written on each change."""

    def command(self):
        self.data.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.data}/\nautosave_interval 1\nautosave_on_changes true\n"
            "max_queued_messages 0\nmax_inflight_messages 1000\nuser root\nlog_type error\n"
        )
        return [self.binary, "-c", configuration]

    def settings(self):
        return {}

    def wait_ready(self, seconds=READY_SECS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                self.ready_secs = time.monotonic() - self._spawned
                return
            except OSError:
                self.check_alive()
                time.sleep(0.01)
        raise Ended(f"nothing listens after {seconds} s:\n{self.tail()}")


def broker_for(binary):
    return Mosquitto if pathlib.Path(binary).name == "mosquitto" else Broker


def is_on_disk(folder):
    """False for a file system that lives in memory."""
    best, kind = "", ""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if (str(folder) + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, found
    return kind not in ("tmpfs", "ramfs", "devtmpfs")


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def resident(process):
    """Bytes of memory."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def processor_secs(process):
    """Seconds of all its threads on a processor."""
    with contextlib.suppress(OSError):
        # Behind the name, which may hold anything.
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
