"""Client libraries over WebSocket and TLS: what they publish comes back, whole."""

import functools
import json
import subprocess

import tools
from checks import equal

RUN_SECS = 120

# Every kind of listener that a library can use, and how it is told of it.
DOORS = [
    ("ws", "ws", "/mqtt"),
    ("mild", "ws", "/"),
    ("wss", "wss", "/mqtt"),
    ("auto", "ws", "/mqtt"),
    ("auto", "mqtt", ""),
    ("autotls", "wss", "/mqtt"),
    ("autotls", "mqtts", ""),
    ("tls", "mqtts", ""),
]
TRANSPORTS = {"ws": "ws", "wss": "wss", "mqtt": "tcp", "mqtts": "tls"}


def all_checks(doors):
    for client, command in [("Paho", paho()), ("MQTT.js", mqttjs())]:
        for listener, scheme, path in DOORS:
            for version in ["3.1.1", "5.0"]:
                name = f"{client} {version} by {scheme} on the listener {listener}"
                given = (doors, command, listener, scheme, path, version)
                yield name, functools.partial(round_trip, *given)


def paho():
    return [tools.python(), tools.HERE / "drivers" / "paho_doors.py"]


def mqttjs():
    folder = tools.mqttjs_driver()[-1]
    return ["node", tools.HERE / "drivers" / "mqttjs_doors.mjs", folder]


def round_trip(doors, command, listener, scheme, path, version):
    with doors.running() as broker:
        url = f"{scheme}://127.0.0.1:{broker.ports[listener]}{path}"
        run = [*command, url, version, doors.authority]
        done = subprocess.run(run, timeout=RUN_SECS, text=True, capture_output=True)
        equal((done.returncode, done.stderr), (0, ""))
        equal(json.loads(done.stdout), expected())
        broker.event("connection_end", listener=listener, transport=TRANSPORTS[scheme], reason="client_disconnected")


def expected():
    """Topic, QoS, length and sum of the bytes of what each client publishes and gets."""
    byte_values = sum(range(256))
    large = sum(index % 251 for index in range(200_000))
    return [
        ["doors/text", 0, 5, sum(b"hello")],
        ["doors/bytes", 1, 256, byte_values],
        ["doors/empty", 1, 0, 0],
        ["doors/large", 2, 200_000, large],
    ]
