"""A broker with one listener of every kind, its certificates, and its log as values."""

import contextlib
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

START_SECS = 20
STOP_SECS = 20
LOG_SECS = 15
LISTENING = re.compile(r"^listening on 127\.0\.0\.1:([0-9]+) \(([a-z]+)")

# The deadline is short because a check waits for it.
CONFIGURATION = """
[listeners.default]
address = "127.0.0.1:0"

[listeners.ws]
address = "127.0.0.1:0"
protocol = "websocket"
handshake_deadline = "2s"

[listeners.mild]
address = "127.0.0.1:0"
protocol = "websocket"
websocket_require_subprotocol = false
websocket_path = "/"

[listeners.page]
address = "127.0.0.1:0"
protocol = "websocket"
websocket_origins = ["{page}"]
websocket_trusted_proxies = ["127.0.0.0/8"]

[listeners.auto]
address = "127.0.0.1:0"
protocol = "auto"

[listeners.tls]
address = "127.0.0.1:0"
tls_certificate = "{folder}/server.crt"
tls_key = "{folder}/server.key"

[listeners.wss]
address = "127.0.0.1:0"
protocol = "websocket"
tls_certificate = "{folder}/server.crt"
tls_key = "{folder}/server.key"
websocket_origins = ["{page}"]

[listeners.autotls]
address = "127.0.0.1:0"
protocol = "auto"
tls_certificate = "{folder}/server.crt"
tls_key = "{folder}/server.key"

[listeners.proxied]
address = "127.0.0.1:0"
proxy_protocol_from = ["127.0.0.0/8"]

[listeners.strangers]
address = "127.0.0.1:0"
proxy_protocol_from = ["192.0.2.0/24"]
"""


class Doors:
    """Starts brokers, each with the same certificates."""

    def __init__(self, binary, folder):
        self.binary = binary.resolve()
        self.folder = folder
        self.authority = folder / "authority.crt"
        self._certificates()

    def _certificates(self):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "authority.key", "-out", "authority.crt", "-subj", "/CN=authority", "-days", "2")
        for name, subject, extension in [
            ("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            ("client", "/CN=meter 17", "extendedKeyUsage=clientAuth"),
        ]:
            (self.folder / f"{name}.ext").write_text(extension + "\n")
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
            signed_by = ["-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2"]
            openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext", *signed_by)
            both = (self.folder / f"{name}.crt").read_text() + (self.folder / f"{name}.key").read_text()
            (self.folder / f"{name}.pem").write_text(both)

    @contextlib.contextmanager
    def running(self, page="https://page.example"):
        """A broker whose listeners for pages let those of this origin in."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "dunlin.toml"
            path.write_text(CONFIGURATION.format(folder=self.folder, page=page))
            command = [self.binary, "run", "--config", path, "--log-format", "json"]
            process = subprocess.Popen(
                command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            broker = Broker(process)
            try:
                broker.wait_for_start()
                yield broker
                broker.stop()
            finally:
                process.kill()
                process.wait()


class Broker:
    def __init__(self, process):
        self.ports = {}
        self._process = process
        self._lines = []
        self._events = []
        self._grown = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            with self._grown:
                self._lines.append(line)
                if found := LISTENING.match(line):
                    self.ports[found[2]] = int(found[1])
                elif line.startswith("{"):
                    entry = json.loads(line)
                    self._events.append({**entry, **entry.get("fields", {})})
                self._grown.notify_all()

    def wait_for_start(self):
        wanted = CONFIGURATION.count("[listeners.")
        with self._grown:
            if not self._grown.wait_for(lambda: len(self.ports) == wanted, START_SECS):
                raise AssertionError(f"it did not start:\n{self._tail()}")

    def event(self, name, **wanted):
        """The first event of this name with these values, which may be on its way."""

        def found():
            return next((event for event in self._events if matches(event)), None)

        def matches(event):
            return event.get("event") == name and all(event.get(key) == value for key, value in wanted.items())

        with self._grown:
            if not self._grown.wait_for(found, LOG_SECS):
                raise AssertionError(f"no {name} with {wanted}:\n{self._tail()}")
            return found()

    def stop(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_SECS)
        panics = [line for line in self._lines if "panic" in line]
        if code != 0 or panics:
            raise AssertionError(f"it ended with {code}:\n{''.join(panics)}{self._tail()}")

    def _tail(self):
        return "".join(self._lines[-30:])


def until(condition, what, secs=15):
    """Waits for what has no event of its own."""
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {secs} s: {what}")
        time.sleep(0.02)
