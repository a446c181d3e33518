"""A driver is a program around one real client. It takes one command per line as JSON and answers in the same way.

    {"id": 1, "op": "connect", "client": "a", "version": "5.0", "client_id": "x", "clean": true}
    {"id": 1, "ok": {"session_present": false, "reason": 0, "properties": {}}}
    {"event": "message", "client": "a", "topic": "t", "payload": "p", "qos": 1, "retain": false, "dup": false, "properties": {}}
    {"event": "closed", "client": "a", "reason": 142}

The first line a driver prints says what it is and what its client cannot do, so that every scenario is written once.
"""

import json
import queue
import subprocess
import threading

# Generous, because a loaded machine is slow; a passing run never waits for it.
ANSWER_SECS = 15


class Refused(Exception):
    """The client library or the broker said no."""


class Driver:
    """The running program, shared by all clients of one scenario."""

    def __init__(self, command, port):
        self._process = subprocess.Popen(
            [*command, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._answers = queue.Queue()
        self._events = {}
        self._next_id = 0
        self._events_lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        hello = self._take(self._answers, "the driver's first line")
        self.name = hello["driver"]
        self.versions = hello["versions"]
        self.cannot = set(hello.get("cannot", []))

    def _read(self):
        for line in self._process.stdout:
            entry = json.loads(line)
            if "event" in entry:
                self.events(entry["client"]).put(entry)
            else:
                self._answers.put(entry)
        self._answers.put({"error": "the driver ended"})

    @staticmethod
    def _take(source, what, secs=ANSWER_SECS):
        try:
            return source.get(timeout=secs)
        except queue.Empty:
            raise TimeoutError(f"no answer within {secs} s: {what}") from None

    def events(self, client):
        with self._events_lock:
            return self._events.setdefault(client, queue.Queue())

    def call(self, op, **arguments):
        self._next_id += 1
        self._process.stdin.write(json.dumps({"id": self._next_id, "op": op, **arguments}) + "\n")
        self._process.stdin.flush()
        while True:
            answer = self._take(self._answers, f"{op} {arguments.get('client', '')}")
            # An answer that comes after its call was given up belongs to nobody.
            if answer.get("id", self._next_id) == self._next_id:
                break
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Client:
    """One client inside a driver."""

    def __init__(self, driver, name, **options):
        self._driver = driver
        self._name = name
        self._events = driver.events(name)
        accepted = driver.call("connect", client=name, **options)
        self.session_present = accepted["session_present"]
        self.properties = accepted["properties"]

    def subscribe(self, topic_filter, qos=0, **options):
        """The SUBACK's reason codes."""
        return self._call("subscribe", filter=topic_filter, qos=qos, **options)["reasons"]

    def unsubscribe(self, topic_filter):
        """The UNSUBACK's reason codes; empty before 5.0."""
        return self._call("unsubscribe", filter=topic_filter)["reasons"]

    def publish(self, topic, payload, qos=0, retain=False, **properties):
        """Waits until the message is acknowledged; gives the reason code."""
        answer = self._call("publish", topic=topic, payload=payload, qos=qos, retain=retain, properties=properties)
        return answer["reason"]

    def disconnect(self):
        self._call("disconnect")

    def cut(self):
        """Closes the socket without DISCONNECT."""
        self._call("cut")

    def receive(self, secs=ANSWER_SECS):
        entry = Driver._take(self._events, f"a message for {self._name}", secs)
        if entry["event"] != "message":
            raise AssertionError(f"{self._name} expected a message, got {entry}")
        return {key: value for key, value in entry.items() if key not in ("event", "client")}

    def receive_until(self, topic, payload):
        """Everything that arrives before the given message, which is not among it."""
        received = []
        while True:
            message = self.receive()
            if (message["topic"], message["payload"]) == (topic, payload):
                return received
            received.append(message)

    def closed(self):
        """Waits until the broker closes the connection; gives the reason code of its DISCONNECT, if any."""
        entry = Driver._take(self._events, f"the end of {self._name}")
        if entry["event"] != "closed":
            raise AssertionError(f"{self._name} expected its end, got {entry}")
        return entry["reason"]

    def _call(self, op, **arguments):
        return self._driver.call(op, client=self._name, **arguments)
