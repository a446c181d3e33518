"""MQTT.js in a page of headless Chromium, which says where the page comes from."""

import contextlib
import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading

import door_clients
import tools
from checks import equal

RUN_SECS = 180

PAGE = b"""<!doctype html>
<title>MQTT in a page</title>
<script src="/mqtt.min.js"></script>
<script type="module">
  import { roundTrip } from '/round_trip.mjs'
  globalThis.roundTrip = roundTrip
</script>
"""


def all_checks(doors):
    for listener, scheme in [("page", "ws"), ("wss", "wss")]:
        for version in ["3.1.1", "5.0"]:
            yield f"Chromium {version} by {scheme}", functools.partial(by_a_page, doors, listener, scheme, version)
    yield "a page of a foreign origin is kept out", functools.partial(by_a_foreign_page, doors)


def by_a_page(doors, listener, scheme, version):
    with served_page() as page, doors.running(page) as broker:
        equal(in_chromium(page, f"{scheme}://127.0.0.1:{broker.ports[listener]}/mqtt", version), door_clients.expected())
        broker.event("connection_end", listener=listener, transport=scheme, reason="client_disconnected")


def by_a_foreign_page(doors):
    # The listener lets anonymous clients in, and so no page.
    with served_page() as page, doors.running() as broker:
        outcome = in_chromium(page, f"ws://127.0.0.1:{broker.ports['ws']}/mqtt", "5.0")
        equal(isinstance(outcome, str), True)
        broker.event("connection_refused", listener="ws", reason="websocket_origin")


def in_chromium(page, url, version):
    folder = tools.mqttjs_driver()[-1]
    with tempfile.TemporaryDirectory() as profile:
        driver = ["node", tools.HERE / "drivers" / "chromium_doors.mjs", folder, shutil.which("chromium")]
        command = [*driver, profile, page, url, version]
        done = subprocess.run(command, timeout=RUN_SECS, text=True, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


@contextlib.contextmanager
def served_page():
    """The origin of a server with the page and its scripts."""
    scripts = {
        "/mqtt.min.js": pathlib.Path(tools.mqttjs_driver()[-1]) / "node_modules" / "mqtt" / "dist" / "mqtt.min.js",
        "/round_trip.mjs": tools.HERE / "drivers" / "round_trip.mjs",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            script = scripts.get(self.path)
            body = script.read_bytes() if script else PAGE
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
