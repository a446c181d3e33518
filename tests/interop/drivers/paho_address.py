"""Paho Python through a proxy: `paho_address.py URL AUTHORITY [CERTIFICATE KEY]` prints the address it has itself, by TCP or TLS."""

import queue
import sys
from urllib.parse import urlsplit

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5

SECS = 30

url, authority, *certificate = sys.argv[1:]
address = urlsplit(url)
transport = "websockets" if address.scheme == "ws" else "tcp"
client = Client(CallbackAPIVersion.VERSION2, "", protocol=MQTTv5, transport=transport)
if transport == "websockets":
    client.ws_set_options(path=address.path)
if address.scheme == "mqtts":
    client.tls_set(authority, *certificate)
steps = queue.Queue()
client.on_connect = lambda _client, _data, _flags, reason, _properties: steps.put(reason)
client.on_subscribe = lambda *_: steps.put("subscribed")
client.on_message = lambda _client, _data, message: steps.put(message.payload)
client.connect(address.hostname, address.port)
client.loop_start()
if steps.get(timeout=SECS).is_failure:
    sys.exit("not connected")
client.subscribe("proxied", 1)
steps.get(timeout=SECS)
client.publish("proxied", "through", 1)
if steps.get(timeout=SECS) != b"through":
    sys.exit("something else came")
# What Paho has for a socket of a WebSocket does not say its address.
if transport == "tcp":
    host, port = client.socket().getsockname()
    print(f"{host}:{port}")
client.disconnect()
client.loop_stop()
