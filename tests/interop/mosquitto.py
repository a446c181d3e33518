"""mosquitto_pub, mosquitto_sub and mosquitto_rr, used as a person uses them.

They are command lines and no library, so that they have checks of their own instead of a driver.
"""

import json
import queue
import subprocess
import threading

from checks import equal
from scenarios import Names, message

PROTOCOLS = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5.0": "mqttv5"}
ANSWER_SECS = 15

# Our names and mosquitto_sub's, for what needs no conversion.
PLAIN = {
    "payload_format": "payload-format-indicator",
    "content_type": "content-type",
    "response_topic": "response-topic",
    "message_expiry": "message-expiry-interval",
}


class Tools:
    """The commands against one port in one version."""

    def __init__(self, port, version):
        self.version = version
        self.names = Names()
        self._common = ["-h", "127.0.0.1", "-p", str(port), "-V", PROTOCOLS[version]]
        self._running = []

    def publish(self, *arguments, **options):
        command = ["mosquitto_pub", *self._common, *arguments]
        return subprocess.run(command, timeout=ANSWER_SECS, check=True, text=True, capture_output=True, **options)

    def subscribe(self, *arguments):
        """Returns once the subscription is acknowledged."""
        # Line by line: into a pipe the output would wait until a buffer is full.
        subscriber = Subscriber(["stdbuf", "-oL", "mosquitto_sub", *self._common, "-d", "-F", "%j", *arguments])
        self._running.append(subscriber)
        subscriber.subscribed()
        return subscriber

    def ask(self, *arguments):
        command = ["mosquitto_rr", *self._common, "-W", str(ANSWER_SECS), *arguments]
        return subprocess.run(command, timeout=ANSWER_SECS + 5, check=True, text=True, capture_output=True).stdout

    def close(self):
        for subscriber in self._running:
            subscriber.kill()


class Subscriber:
    """A running mosquitto_sub."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._messages = queue.Queue()
        self._acknowledged = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            if line.startswith('{"tst"'):
                self._messages.put(shown(line))
            elif line.startswith("Subscribed"):
                self._acknowledged.set()

    def subscribed(self):
        if not self._acknowledged.wait(ANSWER_SECS):
            raise TimeoutError(f"no SUBACK within {ANSWER_SECS} s")

    def receive(self, count=1):
        try:
            return [self._messages.get(timeout=ANSWER_SECS) for _ in range(count)]
        except queue.Empty:
            raise TimeoutError(f"fewer than {count} messages within {ANSWER_SECS} s") from None

    def ended(self):
        equal(self._process.wait(timeout=ANSWER_SECS), 0)

    def kill(self):
        """The kernel closes the socket; no DISCONNECT is sent."""
        self._process.kill()
        self._process.wait()


def shown(line):
    # The same user property may come twice, which a dict would lose.
    entry = dict(json.loads(line, object_pairs_hook=list))
    source = dict(entry.get("properties", []))
    properties = {ours: source[theirs] for ours, theirs in PLAIN.items() if theirs in source}
    if "correlation-data" in source:
        properties["correlation_data"] = source["correlation-data"].encode().hex()
    if "user-properties" in source:
        properties["user"] = [list(pair) for pair in source["user-properties"]]
    if "subscription-identifier" in source:
        properties["subscription_ids"] = [source["subscription-identifier"]]
    return message(entry["topic"], entry["payload"], entry["qos"], bool(entry["retain"]), **properties)


def pub_reaches_sub(tools, qos):
    topic = tools.names.topic("qos")
    subscriber = tools.subscribe("-t", topic, "-q", str(qos))
    tools.publish("-t", topic, "-q", str(qos), "-l", input="one\ntwo\nthree\n")
    equal(subscriber.receive(3), [message(topic, payload, qos) for payload in ("one", "two", "three")])


def retained_message_is_kept_and_cleared(tools):
    topic = tools.names.topic("state")
    tools.publish("-t", topic, "-q", "1", "-r", "-m", "kept")
    equal(tools.subscribe("-t", topic, "-q", "1").receive(), [message(topic, "kept", 1, retain=True)])
    tools.publish("-t", topic, "-q", "1", "-r", "-n")
    late = tools.subscribe("-t", topic, "-q", "1")
    tools.publish("-t", topic, "-q", "1", "-m", "end")
    equal(late.receive(), [message(topic, "end", 1)])


def killed_sub_leaves_its_will(tools):
    topic = tools.names.topic("will")
    watcher = tools.subscribe("-t", topic, "-q", "1")
    will = ["--will-topic", topic, "--will-payload", "gone", "--will-qos", "1"]
    tools.subscribe("-t", tools.names.topic("other"), *will).kill()
    equal(watcher.receive(), [message(topic, "gone", 1)])


def session_queues_while_sub_is_away(tools):
    topic = tools.names.topic("queue")
    durable = ["-t", topic, "-q", "1", "-c", "-i", tools.names.client_id("sub")]
    # -E leaves once the subscription is acknowledged.
    tools.subscribe(*durable, "-E").ended()
    for number in range(5):
        tools.publish("-t", topic, "-q", "1", "-m", str(number))
    back = tools.subscribe(*durable)
    equal(back.receive(5), [message(topic, str(number), 1) for number in range(5)])


def shared_group_takes_turns(tools):
    topic = tools.names.topic("work")
    shared = f"$share/{tools.names.client_id('group')}/{topic}"
    members = [tools.subscribe("-t", shared, "-q", "1", "-C", "5") for _ in range(2)]
    tools.publish("-t", topic, "-q", "1", "-l", input="".join(f"{number}\n" for number in range(10)))
    received = [entry for member in members for entry in member.receive(5)]
    received.sort(key=lambda entry: entry["payload"])
    equal(received, [message(topic, str(number), 1) for number in range(10)])


def properties_arrive_unchanged(tools):
    topic = tools.names.topic("properties")
    subscriber = tools.subscribe("-t", topic, "-q", "1", "-D", "subscribe", "subscription-identifier", "7")
    properties = {
        "payload-format-indicator": ["1"],
        "message-expiry-interval": ["100"],
        "content-type": ["text/plain"],
        "response-topic": ["interop/answers"],
        "correlation-data": ["0a"],
    }
    arguments = [["-D", "publish", name, *values] for name, values in properties.items()]
    arguments += [["-D", "publish", "user-property", *pair] for pair in (("a", "1"), ("a", "2"), ("\u00fc", "3"))]
    tools.publish("-t", topic, "-q", "1", "-m", "x", *(part for argument in arguments for part in argument))
    expected = message(
        topic,
        "x",
        1,
        payload_format=1,
        content_type="text/plain",
        response_topic="interop/answers",
        message_expiry=100,
        correlation_data=b"0a".hex(),
        user=[["a", "1"], ["a", "2"], ["\u00fc", "3"]],
        subscription_ids=[7],
    )
    equal(subscriber.receive(), [expected])


def request_is_answered_on_its_response_topic(tools):
    question, answers = tools.names.topic("question"), tools.names.topic("answers")
    responder = tools.subscribe("-t", question, "-q", "1")

    def respond():
        request = responder.receive()[0]["properties"]
        tools.publish("-t", request["response_topic"], "-q", "1", "-m", "42")

    answering = threading.Thread(target=respond, daemon=True)
    answering.start()
    equal(tools.ask("-t", question, "-e", answers, "-q", "1", "-m", "?"), "42\n")
    answering.join(ANSWER_SECS)


def refusal_is_shown(tools):
    refused = tools.publish("-t", "$SYS/interop", "-q", "1", "-m", "x")
    equal(refused.stderr, "Warning: Publish 1 failed: Not authorized.\n")


def all_checks(port):
    """Every (name, check)."""
    for version in PROTOCOLS:
        table = [(pub_reaches_sub, (qos,)) for qos in (0, 1, 2)]
        table += [
            (retained_message_is_kept_and_cleared, ()),
            (killed_sub_leaves_its_will, ()),
            (session_queues_while_sub_is_away, ()),
        ]
        if version == "5.0":
            table += [
                (shared_group_takes_turns, ()),
                (properties_arrive_unchanged, ()),
                (request_is_answered_on_its_response_topic, ()),
                (refusal_is_shown, ()),
            ]
        for check, arguments in table:
            suffix = "".join(f", QoS {qos}" for qos in arguments)
            yield f"{version} {check.__name__.replace('_', ' ')}{suffix}", _bind(port, version, check, arguments)


def _bind(port, version, check, arguments):
    def bound():
        tools = Tools(port, version)
        try:
            check(tools, *arguments)
        finally:
            tools.close()

    return bound
