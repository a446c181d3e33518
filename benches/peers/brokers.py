"""What is compared: how each is started, with a configuration that is a file of this folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

import install
from environment import CONFIGURATIONS, FOLDER

PATIENCE = 20


class Broken(Exception):
    """Why a broker did not serve."""


def configured(name, folder, port):
    """A file of `configurations` with this run's ports and folder."""
    text = (CONFIGURATIONS / name).read_text()
    text = text.replace("5PORT", str(port + 1)).replace("PORT", str(port)).replace("DATA", str(folder / "data"))
    path = folder / name
    path.write_text(text)
    return path


class Kind:
    """A broker that can be started."""

    # Ports of 5.0 after that of 3.1.1, where it has two.
    port_5 = 0

    def prepare(self):
        """Installs it, and says its version."""
        raise NotImplementedError

    def command(self, folder, port):
        raise NotImplementedError


class Dunlin(Kind):
    name = "Dunlin"
    about = "its defaults: no configuration but where to listen and where to keep data"

    def __init__(self, binary):
        self.binary = binary

    def prepare(self):
        return install.version([self.binary, "--version"]).removeprefix("dunlin ")

    def command(self, folder, port):
        return [self.binary, "--listen", f"127.0.0.1:{port}", "--data-dir", folder / "data"]


class Relay(Kind):
    name = "relay"
    about = "`benches/src/bin/relay`: one thread that passes bytes on, no broker at all"

    def __init__(self, binary):
        self.binary = binary

    def prepare(self):
        return ""

    def command(self, folder, port):
        return [self.binary, "--port", str(port)]


class Mosquitto(Kind):
    name = "Mosquitto"
    about = "`mosquitto.conf`: in memory, queues without bounds"

    def prepare(self):
        self.program = install.mosquitto()
        return install.version([self.program, "-h"]).removeprefix("mosquitto version ")

    def command(self, folder, port):
        return [self.program, "-c", configured("mosquitto.conf", folder, port)]


class Rumqttd(Kind):
    name = "rumqttd"
    about = "`rumqttd.toml`: the example that comes with it"
    port_5 = 1

    def prepare(self):
        self.program = install.rumqttd()
        return install.RUMQTTD

    def command(self, folder, port):
        return [self.program, "--quiet", "--config", configured("rumqttd.toml", folder, port)]


class Nats(Kind):
    name = "NATS"
    about = "`nats.conf`: sessions and QoS 1 and 2 in JetStream's files, synced every two minutes"

    def prepare(self):
        self.program = install.nats()
        return install.version([self.program, "--version"]).removeprefix("nats-server: v")

    def command(self, folder, port):
        return [self.program, "--config", configured("nats.conf", folder, port)]


class Aedes(Kind):
    name = "aedes"
    about = "`aedes.mjs`: its defaults, in memory, one thread of Node"

    def prepare(self):
        self.root = install.aedes()
        return f"{install.AEDES}, node {install.version(['node', '--version']).removeprefix('v')}"

    def command(self, folder, port):
        script = configured("aedes.mjs", folder, port)
        # Modules are looked for beside the script.
        (folder / "node_modules").symlink_to(self.root / "node_modules")
        return ["node", script]


class Running:
    """A broker that serves, until the end of the block."""

    def __init__(self, kind, environment):
        self.kind = kind
        self.environment = environment

    def __enter__(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.folder = tempfile.TemporaryDirectory(dir=FOLDER, prefix="run-")
        folder = FOLDER / self.folder.name
        self.port = free_ports()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, self.kind.command(folder, self.port))),
                cwd=folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait()
        except Broken:
            self.__exit__()
            raise
        return self

    def wait(self):
        """Until a client is let in."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Broken(f"it ended with {self.process.returncode}: {self.last_words()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                    client.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05first")
                    if client.recv(4)[:1] == b"\x20":
                        client.sendall(b"\xe0\x00")
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise Broken(f"it let nobody in for {PATIENCE} s: {self.last_words()}")

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "without a word"

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder.name, ignore_errors=True)
        self.folder.cleanup()


def free_ports():
    """A port that is free together with the next."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                continue
