"""Driver for Paho Python."""

import queue
import socket
import sys

import paho.mqtt
from lines import send, serve
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv31, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
PROTOCOLS = {"3.1": MQTTv31, "3.1.1": MQTTv311, "5.0": MQTTv5}
ANSWER_SECS = 10

# Our names and Paho's, for what needs no conversion.
PLAIN = {
    "payload_format": "PayloadFormatIndicator",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "message_expiry": "MessageExpiryInterval",
    "topic_alias": "TopicAlias",
}

clients = {}


def properties_for(packet_type, values):
    properties = Properties(packet_type)
    for name, value in values.items():
        if name == "user":
            properties.UserProperty = [tuple(pair) for pair in value]
        elif name == "correlation_data":
            properties.CorrelationData = bytes.fromhex(value)
        else:
            setattr(properties, PLAIN[name], value)
    return properties


class Connected:
    """One Paho client; its callbacks fill queues that the operations wait for."""

    def __init__(self, name, version, client_id, clean, expiry=0, will=None, **limits):
        self.name = name
        self.is_v5 = version == "5.0"
        self.answers = queue.Queue()
        # Paho does not resolve the aliases it announces, so that we do.
        self.aliases = {}
        clean_session = None if self.is_v5 else clean
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session,
            protocol=PROTOCOLS[version],
            # A client that comes back by itself would take its session over again.
            reconnect_on_failure=False,
        )
        self.leaves = False
        # The thousandth message is not to wait for the twentieth.
        self.client.max_inflight_messages_set(1000)
        self.client.on_connect = lambda _c, _u, flags, reason, properties: self.answers.put((flags, reason, properties))
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.answers.put(reasons)
        self.client.on_unsubscribe = lambda _c, _u, _mid, reasons, _p: self.answers.put(reasons)
        self.client.on_publish = lambda _c, _u, _mid, reason, _p: self.answers.put(reason)
        self.client.on_message = lambda _c, _u, message: self.show(message)
        self.client.on_disconnect = lambda _c, _u, flags, reason, _p: self.show_end(flags, reason)
        if will is not None:
            self.set_will(**will)
        self.connect(clean, expiry, limits)

    def set_will(self, topic, payload, qos, retain, delay=0, properties=None):
        for_will = None
        if self.is_v5:
            for_will = properties_for(PacketTypes.WILLMESSAGE, properties or {})
            for_will.WillDelayInterval = delay
        self.client.will_set(topic, payload, qos, retain, for_will)

    def connect(self, clean, expiry, limits):
        arguments = {}
        if self.is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            if "topic_alias_maximum" in limits:
                properties.TopicAliasMaximum = limits["topic_alias_maximum"]
            if "receive_maximum" in limits:
                properties.ReceiveMaximum = limits["receive_maximum"]
            arguments = {"clean_start": clean, "properties": properties}
        self.client.connect("127.0.0.1", PORT, keepalive=60, **arguments)
        self.client.loop_start()

    def accepted(self):
        flags, reason, properties = self.wait()
        if reason.is_failure:
            raise ConnectionError(f"CONNACK {reason.value:#x} {reason}")
        shown = {}
        if hasattr(properties, "AssignedClientIdentifier"):
            shown["assigned_client_id"] = properties.AssignedClientIdentifier
        return {"session_present": flags.session_present, "reason": reason.value, "properties": shown}

    def wait(self):
        return self.answers.get(timeout=ANSWER_SECS)

    def show(self, message):
        properties = self.shown_properties(message)
        topic = message.topic
        alias = properties.pop("topic_alias", None)
        if alias is not None:
            topic = self.aliases.setdefault(alias, topic) if topic == "" else topic
            self.aliases[alias] = topic
        send(
            {
                "event": "message",
                "client": self.name,
                "topic": topic,
                "payload": message.payload.decode(),
                "qos": message.qos,
                "retain": message.retain,
                "dup": message.dup,
                "properties": properties,
            }
        )

    def shown_properties(self, message):
        if not self.is_v5:
            return {}
        source = message.properties
        shown = {ours: getattr(source, theirs) for ours, theirs in PLAIN.items() if hasattr(source, theirs)}
        if hasattr(source, "CorrelationData"):
            shown["correlation_data"] = source.CorrelationData.hex()
        if hasattr(source, "UserProperty"):
            shown["user"] = source.UserProperty
        if hasattr(source, "SubscriptionIdentifier"):
            shown["subscription_ids"] = source.SubscriptionIdentifier
        return shown

    def show_end(self, flags, reason):
        if self.leaves:
            self.answers.put(None)
            return
        from_server = flags.is_disconnect_packet_from_server
        send({"event": "closed", "client": self.name, "reason": reason.value if from_server else None})


def connect(client, **options):
    connected = clients[client] = Connected(client, **options)
    return connected.accepted()


def subscribe(client, filter, qos, no_local=False, retain_as_published=False, retain_handling=0, subscription_id=None):
    connected = clients[client]
    if connected.is_v5:
        properties = Properties(PacketTypes.SUBSCRIBE)
        if subscription_id is not None:
            properties.SubscriptionIdentifier = subscription_id
        options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
        connected.client.subscribe(filter, options=options, properties=properties)
    else:
        connected.client.subscribe(filter, qos)
    return {"reasons": [reason.value for reason in connected.wait()]}


def unsubscribe(client, filter):
    connected = clients[client]
    connected.client.unsubscribe(filter)
    reasons = connected.wait()
    return {"reasons": [reason.value for reason in reasons] if connected.is_v5 else []}


def publish(client, topic, payload, qos, retain, properties):
    connected = clients[client]
    extra = properties_for(PacketTypes.PUBLISH, properties) if properties else None
    connected.client.publish(topic, payload, qos, retain, extra)
    return {"reason": connected.wait().value}


def disconnect(client):
    connected = clients[client]
    connected.leaves = True
    connected.client.disconnect()
    connected.wait()


def cut(client):
    connected = clients[client]
    connection = connected.client.socket()
    if connection is not None:
        connected.leaves = True
        connection.shutdown(socket.SHUT_RDWR)
        connected.wait()


serve(
    {"driver": f"paho-mqtt {paho.mqtt.__version__}", "versions": list(PROTOCOLS)},
    {
        "connect": connect,
        "subscribe": subscribe,
        "unsubscribe": unsubscribe,
        "publish": publish,
        "disconnect": disconnect,
        "cut": cut,
    },
)
