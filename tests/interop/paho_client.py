"""A Paho client whose every operation waits for its answer and gives it as plain values."""

import queue

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ANSWER_SECS = 10
PROTOCOLS = {"3.1.1": MQTTv311, "5.0": MQTTv5}


class Refused(Exception):
    """CONNACK with this reason code."""

    def __init__(self, code):
        super().__init__(f"CONNACK {code:#x}")
        self.code = code


class PahoClient:
    """Connected from its making to `close`. Codes are those of the packets, also above 0x80."""

    def __init__(self, port, client_id, user=None, password=None, version="5.0", kept=False):
        self.version = version
        self._answers = queue.Queue()
        self._messages = queue.Queue()
        self._ended = queue.Queue()
        is_v5 = version == "5.0"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            None if is_v5 else not kept,
            protocol=PROTOCOLS[version],
            reconnect_on_failure=False,
        )
        if user is not None or password is not None:
            self._client.username_pw_set(user, password)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda _c, _u, flags, reason, _p: self._answers.put((flags.session_present, reason.value))
        self._client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._answers.put([reason.value for reason in reasons])
        self._client.on_publish = lambda _c, _u, _m, reason, _p: self._answers.put(reason.value)
        self._client.on_message = lambda _c, _u, message: self._messages.put(message)
        self._client.on_disconnect = lambda _c, _u, _f, reason, _p: self._ended.put(reason.value)
        arguments = {}
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if kept else 0
            arguments = {"clean_start": not kept, "properties": properties}
        self._client.connect("127.0.0.1", port, keepalive=60, **arguments)
        self._client.loop_start()
        self.session_present, code = self._answers.get(timeout=ANSWER_SECS)
        if code != 0:
            self._client.loop_stop()
            raise Refused(code)

    def subscribe(self, *filters, qos=1):
        """The codes of SUBACK."""
        self._client.subscribe([(one, qos) for one in filters])
        return self._answers.get(timeout=ANSWER_SECS)

    def publish(self, topic, payload, qos=1, retain=False):
        """The code of PUBACK or PUBREC; for QoS 0 that it was sent."""
        self._client.publish(topic, payload, qos, retain)
        return self._answers.get(timeout=ANSWER_SECS)

    def publish_many(self, topic, count, qos=1):
        """All of them, numbered, then all of their codes as a set."""
        for number in range(count):
            self._client.publish(topic, str(number), qos)
        return {self._answers.get(timeout=ANSWER_SECS) for _ in range(count)}

    def receive(self, count=1):
        """The next messages: topic, payload, QoS, whether retained."""
        messages = [self._messages.get(timeout=ANSWER_SECS) for _ in range(count)]
        return [(one.topic, one.payload.decode(), one.qos, one.retain) for one in messages]

    def waiting(self):
        """How many messages have come and were not asked for."""
        return self._messages.qsize()

    def ended(self):
        """The reason of the end that the broker made."""
        return self._ended.get(timeout=ANSWER_SECS)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


def refusal(port, client_id, user=None, password=None, version="5.0"):
    """The code by which this client is refused; 0 if it is not."""
    try:
        PahoClient(port, client_id, user, password, version).close()
    except Refused as refused:
        return refused.code
    return 0
