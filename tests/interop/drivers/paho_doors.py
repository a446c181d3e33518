"""Paho Python by one door: `paho_doors.py URL VERSION AUTHORITY` prints what came back of what it published."""

import json
import queue
import sys
from urllib.parse import urlsplit

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311

SECS = 30
MESSAGES = [
    ("doors/text", 0, b"hello"),
    ("doors/bytes", 1, bytes(range(256))),
    ("doors/empty", 1, b""),
    ("doors/large", 2, bytes(index % 251 for index in range(200_000))),
]


def connected(url, version, authority):
    """A client that is connected, and the queue of what arrives for it."""
    address = urlsplit(url)
    transport = "websockets" if address.scheme.startswith("ws") else "tcp"
    protocol = {"3.1.1": MQTTv311, "5.0": MQTTv5}[version]
    client = Client(CallbackAPIVersion.VERSION2, "doors", protocol=protocol, transport=transport)
    if transport == "websockets":
        client.ws_set_options(path=address.path)
    if address.scheme in ("wss", "mqtts"):
        client.tls_set(ca_certs=authority)
    steps, messages = queue.Queue(), queue.Queue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: steps.put(reason)
    client.on_subscribe = lambda *_: steps.put("subscribed")
    client.on_message = lambda _client, _data, message: messages.put(message)
    client.connect(address.hostname, address.port)
    client.loop_start()
    reason = steps.get(timeout=SECS)
    if reason.is_failure:
        sys.exit(f"not connected: {reason}")
    client.subscribe("doors/#", 2)
    steps.get(timeout=SECS)
    return client, messages


def round_trip(client, messages):
    came_back = []
    for topic, qos, payload in MESSAGES:
        client.publish(topic, payload, qos)
        message = messages.get(timeout=SECS)
        came_back.append([message.topic, message.qos, len(message.payload), sum(message.payload)])
    return came_back


if __name__ == "__main__":
    client, messages = connected(*sys.argv[1:])
    print(json.dumps(round_trip(client, messages)))
    client.disconnect()
    client.loop_stop()
