"""Driver for gmqtt, which lives in an event loop of its own."""

import asyncio
import importlib.metadata
import logging
import sys
import threading

from gmqtt import Client, Message, Subscription
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from lines import send, serve

PORT = int(sys.argv[1])
PROTOCOLS = {"3.1.1": MQTTv311, "5.0": MQTTv50}
ANSWER_SECS = 10

# Our names and gmqtt's, for what needs no conversion.
PLAIN = {
    "payload_format": "payload_format_id",
    "content_type": "content_type",
    "response_topic": "response_topic",
    "message_expiry": "message_expiry_interval",
    "topic_alias": "topic_alias",
}

# gmqtt warns of every connection that ends, which is what half of the scenarios are about.
logging.disable(logging.ERROR)

loop = asyncio.new_event_loop()
clients = {}


def properties_for(values):
    properties = {}
    for name, value in values.items():
        if name == "user":
            properties["user_property"] = [tuple(pair) for pair in value]
        elif name == "correlation_data":
            properties["correlation_data"] = bytes.fromhex(value)
        else:
            properties[PLAIN[name]] = value
    return properties


def shown_properties(source):
    shown = {ours: source[theirs][0] for ours, theirs in PLAIN.items() if theirs in source}
    if "correlation_data" in source:
        shown["correlation_data"] = source["correlation_data"][0].hex()
    if "user_property" in source:
        shown["user"] = source["user_property"]
    if "subscription_identifier" in source:
        shown["subscription_ids"] = source["subscription_identifier"]
    # gmqtt has resolved the alias.
    shown.pop("topic_alias", None)
    return shown


class Connected:
    """One gmqtt client. Every method runs in the loop."""

    def __init__(self, name, version, client_id, clean, expiry=0, will=None, **limits):
        self.name = name
        self.version = PROTOCOLS[version]
        self.answers = asyncio.Queue()
        properties = dict(limits)
        if self.version == MQTTv50:
            properties["session_expiry_interval"] = expiry
        self.client = Client(client_id, clean_session=clean, will_message=will and self.will_message(**will), **properties)
        # A client that comes back by itself would take its session over again. -1 is without end, 0 is once.
        self.client.set_config({"reconnect_retries": -2})
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda _client, _mid, reasons, _properties: self.answers.put_nowait(list(reasons))
        self.client.on_unsubscribe = lambda _client, _mid, *reasons: self.answers.put_nowait(reasons)
        self.client.on_disconnect = self.on_disconnect
        self.leaves = False

    def will_message(self, topic, payload, qos, retain, delay=0, properties=None):
        extra = properties_for(properties or {})
        if delay:
            extra["will_delay_interval"] = delay
        return Message(topic, payload, qos, retain, **extra)

    def on_connect(self, _client, session_present, reason, properties):
        self.answers.put_nowait((bool(session_present), reason, properties))

    def on_message(self, _client, topic, payload, qos, properties):
        send(
            {
                "event": "message",
                "client": self.name,
                "topic": topic,
                "payload": payload.decode(),
                "qos": qos,
                "retain": bool(properties["retain"]),
                "dup": bool(properties["dup"]),
                "properties": shown_properties(properties),
            }
        )
        return 0

    def on_disconnect(self, _client, packet, *_exception):
        if not self.leaves:
            self.leaves = True
            send({"event": "closed", "client": self.name, "reason": packet[0] if packet else None})

    async def answer(self):
        return await asyncio.wait_for(self.answers.get(), ANSWER_SECS)


async def connect(client, **options):
    connected = clients[client] = Connected(client, **options)
    await asyncio.wait_for(connected.client.connect("127.0.0.1", PORT, version=connected.version), ANSWER_SECS)
    session_present, reason, properties = await connected.answer()
    shown = {}
    if "assigned_client_identifier" in properties:
        shown["assigned_client_id"] = properties["assigned_client_identifier"][0]
    return {"session_present": session_present, "reason": reason, "properties": shown}


async def subscribe(client, filter, qos, subscription_id=None, retain_handling=0, **options):
    connected = clients[client]
    subscription = Subscription(filter, qos=qos, retain_handling_options=retain_handling, **options)
    properties = {} if subscription_id is None else {"subscription_identifier": subscription_id}
    connected.client.subscribe(subscription, **properties)
    return {"reasons": await connected.answer()}


async def unsubscribe(client, filter):
    connected = clients[client]
    connected.client.unsubscribe(filter)
    await connected.answer()
    return {"reasons": [0] if connected.version == MQTTv50 else []}


async def publish(client, topic, payload, qos, retain, properties):
    connected = clients[client]
    connected.client.publish(topic, payload, qos, retain, **properties_for(properties))
    # gmqtt keeps a message until it is acknowledged, and tells nobody the reason code.
    await asyncio.wait_for(connected.client._persistent_storage.wait_empty(), ANSWER_SECS)
    return {"reason": None}


async def disconnect(client):
    connected = clients[client]
    connected.leaves = True
    await connected.client.disconnect()


async def cut(client):
    connected = clients[client]
    connected.leaves = True
    connected.client._connection._transport.abort()
    await asyncio.sleep(0)


def in_loop(operation):
    return lambda **arguments: asyncio.run_coroutine_threadsafe(operation(**arguments), loop).result()


threading.Thread(target=loop.run_forever, daemon=True).start()
serve(
    {
        "driver": f"gmqtt {importlib.metadata.version('gmqtt')}",
        "versions": list(PROTOCOLS),
        "cannot": ["publish reasons", "unsubscribe reasons", "empty client id"],
    },
    {
        operation.__name__: in_loop(operation)
        for operation in (connect, subscribe, unsubscribe, publish, disconnect, cut)
    },
)
