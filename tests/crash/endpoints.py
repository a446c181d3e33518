"""One face for both kinds of clients, Paho's and the one beside this file, and the loop that drives many of them.

A client object lives as long as the test: it keeps its Session State while the broker is killed and started again.
"""

import select
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import MessageState
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from client import Client

RECONNECT_SECS = 0.03
PASS_SECS = 0.02


class Owner:
    """Whoever wants to know what happens to a client."""

    def established(self, endpoint, session_present):
        """CONNACK has come."""

    def delivered(self, endpoint, topic, payload, qos):
        """A message has come."""

    def violated(self, endpoint, words):
        """The broker did what it must not do, as far as the client itself sees it."""

    def acknowledged(self, endpoint, token, reason):
        """The broker has answered for a message: with PUBACK or PUBREC, of which Paho shows only what ends the exchange."""


class Endpoint:
    """What both kinds have in common."""

    def __init__(self, owner, name):
        self.owner = owner
        self.name = name
        self.wanted = True
        self.subscribed = False
        self._next_try = 0.0

    def tick(self, now):
        if self.wanted and self.socket() is None and now >= self._next_try:
            self._next_try = now + RECONNECT_SECS
            self.open()
        elif not self.wanted and self.socket() is not None:
            self.leave()


class OwnEndpoint(Endpoint):
    """The client beside this file."""

    kind = "own"

    def __init__(self, owner, name, port, version, window=50, subscriptions=(), **options):
        super().__init__(owner, name)
        endpoint = self

        class Bound(Client):
            def established(self, session_present):
                owner.established(endpoint, session_present)
                if subscriptions and not (session_present and endpoint.subscribed):
                    self.subscribe(subscriptions)

            def subscribed(self, filters, codes):
                endpoint.subscribed = True

            def delivered(self, publish):
                owner.delivered(endpoint, publish.topic.decode(), publish.payload, publish.qos)

            def acknowledged(self, token, reason):
                owner.acknowledged(endpoint, token, reason)

            def violated(self, words):
                owner.violated(endpoint, words)

        self.client = Bound(port, name, version, window=window, ids=window, **options)
        self.version = version

    def socket(self):
        return self.client.socket

    def open(self):
        self.client.open()

    def leave(self):
        self.client.disconnect()

    def connected(self):
        return self.client.connected

    def wants_write(self):
        return self.client.wants_write()

    def readable(self):
        self.client.readable()

    def writable(self):
        self.client.writable()

    def free(self):
        return self.client.free()

    def unacknowledged(self):
        return len(self.client.outbound)

    def publish(self, topic, payload, qos, token, retain=False):
        self.client.publish(topic.encode(), payload, qos, token, retain)


class PahoEndpoint(Endpoint):
    """Paho's client, driven from outside so that many share a thread."""

    kind = "paho"

    def __init__(self, owner, name, port, version, window=50, subscriptions=()):
        super().__init__(owner, name)
        self.version = version
        self._port = port
        self._window = window
        self._subscriptions = [(filter.decode(), qos) for filter, qos in subscriptions]
        self._tokens = {}
        self._connected = False
        options = {} if version == 5 else {"clean_session": False}
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
            **options,
        )
        self._client.max_inflight_messages_set(window)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish

    def socket(self):
        return self._client.socket()

    def open(self):
        self._connected = False
        self._remember_releases()
        try:
            if self.version == 5:
                properties = Properties(PacketTypes.CONNECT)
                properties.SessionExpiryInterval = 3600
                self._client.connect("127.0.0.1", self._port, 120, clean_start=False, properties=properties)
            else:
                self._client.connect("127.0.0.1", self._port, 120)
        except OSError:
            pass

    def _remember_releases(self):
        """When it connects a second time without having had CONNACK, Paho forgets that it has sent PUBREL, and would
        publish the message again as if it were new."""
        for message in self._client._out_messages.values():
            if message.state == MessageState.MQTT_MS_RESEND_PUBREL:
                message.state = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP

    def leave(self):
        self._client.disconnect()
        # Without a loop of its own nothing closes the socket at once.
        self._client.loop_write()

    def connected(self):
        return self._connected and self._client.socket() is not None

    def wants_write(self):
        return self._client.want_write()

    def readable(self):
        self._client.loop_read()

    def writable(self):
        self._client.loop_write()

    def free(self):
        return self._window - len(self._tokens) if self.connected() else 0

    def unacknowledged(self):
        return len(self._tokens)

    def publish(self, topic, payload, qos, token, retain=False):
        info = self._client.publish(topic, payload, qos, retain)
        self._tokens[info.mid] = token

    def _on_connect(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            return
        self._connected = True
        self.owner.established(self, flags.session_present)
        if self._subscriptions and not (flags.session_present and self.subscribed):
            client.subscribe(self._subscriptions)

    def _on_disconnect(self, client, userdata, flags, reason, properties):
        self._connected = False

    def _on_subscribe(self, client, userdata, packet_id, reasons, properties):
        self.subscribed = True

    def _on_message(self, client, userdata, message):
        self.owner.delivered(self, message.topic, message.payload, message.qos)

    def _on_publish(self, client, userdata, packet_id, reason, properties):
        token = self._tokens.pop(packet_id, None)
        if token is not None:
            self.owner.acknowledged(self, token, reason.value if reason is not None else 0)


def run_pass(endpoints, seconds=PASS_SECS):
    """Opens what is to be open, and handles what has come within `seconds`."""
    now = time.monotonic()
    by_socket = {}
    for endpoint in endpoints:
        endpoint.tick(now)
        socket = endpoint.socket()
        if socket is not None:
            by_socket[socket] = endpoint
    if not by_socket:
        time.sleep(seconds)
        return
    writing = [socket for socket, endpoint in by_socket.items() if endpoint.wants_write()]
    readable, writable, _ = select.select(list(by_socket), writing, [], seconds)
    for socket in writable:
        if by_socket[socket].socket() is socket:
            by_socket[socket].writable()
    for socket in readable:
        if by_socket[socket].socket() is socket:
            by_socket[socket].readable()
