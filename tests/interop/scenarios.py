"""What every client must see, written once and run with each client and version."""

import itertools
import secrets
import time

from checks import equal
from driver import Client

VERSIONS = ("3.1", "3.1.1", "5.0")

# Names that neither another run on the same broker nor another scenario uses.
_run = secrets.token_hex(2)
_numbers = itertools.count(1)


class Names:
    """Topics and client ids of one scenario."""

    def __init__(self):
        self.prefix = f"{_run}-{next(_numbers)}"

    def topic(self, *levels):
        return "/".join(["interop", self.prefix, *levels])

    def client_id(self, name):
        # MQTT 3.1 promises no more than 23 characters.
        return f"{self.prefix}-{name}"


class Lab:
    """One scenario's surroundings: a driver, a version, names and clients."""

    def __init__(self, driver, version):
        self.driver = driver
        self.version = version
        self.is_v5 = version == "5.0"
        self._names = Names()
        self.topic = self._names.topic
        self.client_id = self._names.client_id
        self._clients = []

    def connect(self, name, clean=True, **options):
        """A client whose id is made of `name`, so that the same name meets the same session."""
        options.setdefault("client_id", self.client_id(name))
        label = f"{self._names.prefix}-{name}-{len(self._clients)}"
        client = Client(self.driver, label, version=self.version, clean=clean, **options)
        self._clients.append(client)
        return client

    def connect_durable(self, name):
        return self.connect(name, clean=False, **({"expiry": 300} if self.is_v5 else {}))

    def close(self):
        for client in self._clients:
            client.cut()


def message(topic, payload, qos=0, retain=False, **properties):
    """A message as a client shows it. None of ours is ever sent twice, so that DUP is never set."""
    return {"topic": topic, "payload": payload, "qos": qos, "retain": retain, "dup": False, "properties": properties}


# Every version


def publish_reaches_each_subscriber_at_the_lower_qos(lab, qos):
    # [MQTT-3.8.4-8] [MQTT-3.8.4-6 @3.1.1]
    topic = lab.topic("qos")
    subscribers = {}
    for maximum in (0, 1, 2):
        subscribers[maximum] = lab.connect(f"sub{maximum}")
        equal(subscribers[maximum].subscribe(topic, maximum), [maximum])
    publisher = lab.connect("pub")
    for payload in ("one", "two", "\u00e4\u4f60 three"):
        publisher.publish(topic, payload, qos)
    for maximum, subscriber in subscribers.items():
        expected = [message(topic, payload, min(qos, maximum)) for payload in ("one", "two", "\u00e4\u4f60 three")]
        equal([subscriber.receive() for _ in expected], expected)


def wildcards_match_whole_levels(lab):
    # [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-2 @3.1.1] [MQTT-4.7.1-3 @3.1.1]
    everything, one_level = lab.connect("all"), lab.connect("one")
    everything.subscribe(lab.topic("#"), 1)
    one_level.subscribe(lab.topic("+", "b"), 1)
    publisher = lab.connect("pub")
    names = [lab.topic("a"), lab.topic("a", "b"), lab.topic("a", "b", "c"), lab.topic("", "b"), lab.topic("last", "b")]
    for name in names:
        publisher.publish(name, "x", 1)
    equal([everything.receive()["topic"] for _ in names], names)
    equal([one_level.receive()["topic"] for _ in range(3)], [names[1], names[3], names[4]])


def unsubscribed_filter_is_silent(lab):
    # [MQTT-3.10.4-2] [MQTT-3.10.4-2 @3.1.1]
    kept, ended, fence = lab.topic("kept"), lab.topic("ended"), lab.topic("fence")
    client = lab.connect("both")
    for topic in (kept, ended, fence):
        client.subscribe(topic, 1)
    equal(client.unsubscribe(ended), [0] if lab.is_v5 else [])
    client.publish(ended, "no", 1)
    client.publish(kept, "yes", 1)
    client.publish(fence, "end", 1)
    equal(client.receive_until(fence, "end"), [message(kept, "yes", 1)])


def retained_message_is_set_replaced_and_cleared(lab):
    # [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-12] [MQTT-3.3.1-5 @3.1.1] [MQTT-3.3.1-8 @3.1.1] [MQTT-3.3.1-9 @3.1.1] [MQTT-3.3.1-10 @3.1.1]
    topic, fence = lab.topic("state"), lab.topic("fence")
    publisher, live = lab.connect("pub"), lab.connect("live")
    live.subscribe(topic, 1)
    publisher.publish(topic, "old", 1, retain=True)
    publisher.publish(topic, "new", 1, retain=True)
    equal([live.receive(), live.receive()], [message(topic, "old", 1), message(topic, "new", 1)])

    late = lab.connect("late")
    late.subscribe(lab.topic("#"), 1)
    equal(late.receive(), message(topic, "new", 1, retain=True))

    publisher.publish(topic, "", 1, retain=True)
    equal([live.receive(), late.receive()], [message(topic, "", 1), message(topic, "", 1)])
    after = lab.connect("after")
    after.subscribe(lab.topic("#"), 1)
    publisher.publish(fence, "end", 1)
    equal(after.receive_until(fence, "end"), [])


def will_goes_out_when_the_socket_is_cut(lab, qos):
    # [MQTT-3.1.2-8] [MQTT-3.1.2-8 @3.1.1]
    topic = lab.topic("will")
    watcher = lab.connect("watch")
    watcher.subscribe(topic, 2)
    lost = lab.connect("lost", will={"topic": topic, "payload": "gone", "qos": qos, "retain": False})
    lost.cut()
    equal(watcher.receive(), message(topic, "gone", qos))


def retained_will_stays(lab):
    # [MQTT-3.1.2-15] [MQTT-3.1.2-17 @3.1.1]
    topic = lab.topic("will")
    watcher = lab.connect("watch")
    watcher.subscribe(topic, 1)
    lab.connect("lost", will={"topic": topic, "payload": "gone", "qos": 1, "retain": True}).cut()
    equal(watcher.receive(), message(topic, "gone", 1))
    late = lab.connect("late")
    late.subscribe(topic, 1)
    equal(late.receive(), message(topic, "gone", 1, retain=True))
    late.publish(topic, "", 1, retain=True)


def disconnect_takes_the_will_away(lab):
    # [MQTT-3.14.4-3] [MQTT-3.14.4-3 @3.1.1]
    topic, fence = lab.topic("will"), lab.topic("fence")
    watcher = lab.connect("watch")
    watcher.subscribe(lab.topic("#"), 1)
    lab.connect("leaves", will={"topic": topic, "payload": "gone", "qos": 1, "retain": False}).disconnect()
    # The same id again: by then the broker has dealt with the end of the first connection.
    lab.connect("leaves").publish(fence, "end", 1)
    equal(watcher.receive_until(fence, "end"), [])


def session_resumes_with_what_was_queued(lab):
    # [MQTT-3.1.2-5] [MQTT-3.2.2-3] [MQTT-4.4.0-1] [MQTT-3.1.2-4 @3.1.1] [MQTT-3.1.2-5 @3.1.1] [MQTT-3.2.2-2 @3.1.1]
    topic = lab.topic("queue")
    first = lab.connect_durable("durable")
    equal(first.session_present, False)
    equal(first.subscribe(topic, 2), [2])
    first.disconnect()

    publisher = lab.connect("pub")
    for number in range(20):
        publisher.publish(topic, f"number {number}", 1 + number % 2)

    second = lab.connect_durable("durable")
    # MQTT 3.1 has no such flag.
    equal(second.session_present, lab.version != "3.1")
    received = [second.receive() for _ in range(20)]
    # A client may show a QoS 2 message only when it is released, so that order holds for each QoS by itself.
    for qos in (1, 2):
        expected = [message(topic, f"number {number}", qos) for number in range(qos - 1, 20, 2)]
        equal([entry for entry in received if entry["qos"] == qos], expected)
    # The subscription is still there.
    publisher.publish(topic, "live", 1)
    equal(second.receive(), message(topic, "live", 1))
    second.disconnect()

    # [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.2-6 @3.1.1] [MQTT-3.2.2-1 @3.1.1]
    third = lab.connect("durable", clean=True)
    equal(third.session_present, False)
    fence = lab.topic("fence")
    third.subscribe(fence, 1)
    publisher.publish(topic, "nobody", 1)
    publisher.publish(fence, "end", 1)
    equal(third.receive_until(fence, "end"), [])


def same_id_takes_the_connection_over(lab):
    # [MQTT-3.1.4-3] [MQTT-3.1.4-2 @3.1.1]
    topic = lab.topic("own")
    old = lab.connect("twice")
    new = lab.connect("twice")
    reason = old.closed()
    if lab.is_v5 and "disconnect reason" not in lab.driver.cannot:
        equal(reason, 0x8E)
    new.subscribe(topic, 1)
    new.publish(topic, "alive", 1)
    equal(new.receive(), message(topic, "alive", 1))


def large_payload_arrives_whole(lab, qos):
    topic = lab.topic("large")
    payload = "".join(f"{number:07x} " for number in range(32 * 1024))
    client = lab.connect("both")
    client.subscribe(topic, qos)
    client.publish(topic, payload, qos)
    equal(client.receive(), message(topic, payload, qos))


def many_in_flight_keep_their_order(lab, qos):
    # [MQTT-4.6.0-2] [MQTT-4.6.0-6] [MQTT-4.6.0-2 @3.1.1] [MQTT-4.6.0-6 @3.1.1]
    topic = lab.topic("order")
    subscriber, publisher = lab.connect("sub"), lab.connect("pub")
    subscriber.subscribe(topic, qos)
    for number in range(200):
        publisher.publish(topic, str(number), qos)
    equal([subscriber.receive() for _ in range(200)], [message(topic, str(number), qos) for number in range(200)])


# 5.0 only


FULL_PROPERTIES = {
    "payload_format": 1,
    "content_type": "text/plain; charset=utf-8",
    "response_topic": "interop/answers/here",
    "correlation_data": "00ff10",
    "user": [["a", "1"], ["a", "2"], ["\u00fc", ""]],
}


def publish_properties_arrive_unchanged(lab, qos):
    # [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    topic = lab.topic("properties")
    client = lab.connect("both")
    client.subscribe(topic, qos)
    client.publish(topic, "x", qos, **FULL_PROPERTIES)
    equal(client.receive(), message(topic, "x", qos, **FULL_PROPERTIES))
    client.publish(topic, "y", qos)
    equal(client.receive(), message(topic, "y", qos))


def retained_and_will_keep_their_properties(lab):
    # [MQTT-3.1.3-10]
    topic = lab.topic("will")
    watcher = lab.connect("watch")
    watcher.subscribe(topic, 1)
    will = {"topic": topic, "payload": "gone", "qos": 1, "retain": True, "properties": FULL_PROPERTIES}
    lab.connect("lost", will=will).cut()
    equal(watcher.receive(), message(topic, "gone", 1, **FULL_PROPERTIES))
    late = lab.connect("late")
    late.subscribe(topic, 1)
    equal(late.receive(), message(topic, "gone", 1, retain=True, **FULL_PROPERTIES))
    late.publish(topic, "", 1, retain=True)


def will_waits_for_its_delay(lab):
    # [MQTT-3.1.2-8]
    topic = lab.topic("will")
    watcher = lab.connect("watch")
    watcher.subscribe(topic, 1)
    will = {"topic": topic, "payload": "gone", "qos": 1, "retain": False, "delay": 2}
    lost = lab.connect("lost", clean=False, expiry=60, will=will)
    cut_at = time.monotonic()
    lost.cut()
    equal(watcher.receive(), message(topic, "gone", 1))
    waited = time.monotonic() - cut_at
    equal(2 <= waited < 6, True)


def resumed_session_cancels_a_delayed_will(lab):
    # [MQTT-3.1.3-9]
    fence = lab.topic("fence")
    watcher = lab.connect("watch")
    watcher.subscribe(lab.topic("#"), 1)
    will = {"topic": lab.topic("will"), "payload": "gone", "qos": 1, "retain": False, "delay": 1}
    lab.connect("back", clean=False, expiry=60, will=will).cut()
    back = lab.connect("back", clean=False, expiry=60)
    equal(back.session_present, True)
    time.sleep(2)
    back.publish(fence, "end", 1)
    equal(watcher.receive_until(fence, "end"), [])


def message_expiry_counts_down_while_queued(lab):
    # [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    topic = lab.topic("expiry")
    lab_client = lab.connect_durable("durable")
    lab_client.subscribe(topic, 1)
    lab_client.disconnect()
    publisher = lab.connect("pub")
    publisher.publish(topic, "short", 1, message_expiry=1)
    publisher.publish(topic, "long", 1, message_expiry=100)
    publisher.publish(topic, "never", 1)
    time.sleep(3)
    back = lab.connect_durable("durable")
    long, never = back.receive(), back.receive()
    left = long["properties"].pop("message_expiry")
    equal((long, never), (message(topic, "long", 1), message(topic, "never", 1)))
    equal(90 <= left <= 97, True)


def overlapping_filters_give_one_copy_with_every_identifier(lab):
    # [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    topic, fence = lab.topic("a"), lab.topic("fence")
    client = lab.connect("both")
    equal(client.subscribe(topic, 0, subscription_id=1), [0])
    equal(client.subscribe(lab.topic("+"), 2, subscription_id=268_435_455), [2])
    client.publish(topic, "x", 2)
    client.publish(fence, "end", 2)
    received = client.receive_until(fence, "end")
    for entry in received:
        entry["properties"]["subscription_ids"].sort()
    equal(received, [message(topic, "x", 2, subscription_ids=[1, 268_435_455])])


def subscription_options_are_obeyed(lab):
    # [MQTT-3.8.3-3]: No Local.
    own, fence = lab.topic("own"), lab.topic("fence")
    client, other = lab.connect("both"), lab.connect("other")
    client.subscribe(own, 1, no_local=True)
    client.subscribe(fence, 1)
    client.publish(own, "mine", 1)
    other.publish(own, "theirs", 1)
    other.publish(fence, "end", 1)
    equal(client.receive_until(fence, "end"), [message(own, "theirs", 1)])

    # [MQTT-3.3.1-13]: Retain As Published. [MQTT-3.3.1-11]: Retain Handling 2 sends nothing at subscribe time.
    state = lab.topic("state")
    other.publish(state, "before", 1, retain=True)
    client.subscribe(state, 1, retain_as_published=True, retain_handling=2)
    other.publish(state, "after", 1, retain=True)
    equal(client.receive(), message(state, "after", 1, retain=True))

    # [MQTT-3.3.1-10]: Retain Handling 1 sends only for a new subscription.
    client.subscribe(state, 1, retain_handling=1)
    other.publish(fence, "end", 1)
    equal(client.receive_until(fence, "end"), [])
    client.unsubscribe(state)
    client.subscribe(state, 1, retain_handling=1)
    equal(client.receive(), message(state, "after", 1, retain=True))
    other.publish(state, "", 1, retain=True)


def shared_group_takes_turns(lab, qos):
    # [MQTT-4.8.2-3]
    topic = lab.topic("work")
    shared = f"$share/{lab.client_id('group')}/{lab.topic('#')}"
    members = [lab.connect("member1"), lab.connect("member2")]
    for member in members:
        equal(member.subscribe(shared, qos), [qos])
    alone, publisher = lab.connect("alone"), lab.connect("pub")
    alone.subscribe(topic, qos)
    payloads = [str(number) for number in range(20)]
    for payload in payloads:
        publisher.publish(topic, payload, qos)
    equal([alone.receive() for _ in payloads], [message(topic, payload, qos) for payload in payloads])
    received = [[member.receive() for _ in range(10)] for member in members]
    by_number = sorted(itertools.chain(*received), key=lambda entry: int(entry["payload"]))
    equal(by_number, [message(topic, payload, qos) for payload in payloads])


def shared_group_survives_a_member(lab):
    # [MQTT-4.8.2-5]
    topic = lab.topic("work")
    shared = f"$share/{lab.client_id('group')}/{topic}"
    leaver, stayer, publisher = lab.connect("leaver"), lab.connect("stayer"), lab.connect("pub")
    leaver.subscribe(shared, 1)
    stayer.subscribe(shared, 1)
    leaver.disconnect()
    # The same id again: by then the broker has dealt with the end of the first connection.
    lab.connect("leaver")
    for number in range(10):
        publisher.publish(topic, str(number), 1)
    equal([stayer.receive() for _ in range(10)], [message(topic, str(number), 1) for number in range(10)])


def topic_alias_stands_for_the_topic(lab):
    # [MQTT-3.3.2-12]
    topic, other = lab.topic("long", "name"), lab.topic("other")
    client = lab.connect("both")
    client.subscribe(lab.topic("#"), 1)
    client.publish(topic, "one", 1, topic_alias=1)
    client.publish("", "two", 1, topic_alias=1)
    client.publish(other, "three", 1, topic_alias=1)
    client.publish("", "four", 1, topic_alias=1)
    expected = [(topic, "one"), (topic, "two"), (other, "three"), (other, "four")]
    equal([client.receive() for _ in expected], [message(name, payload, 1) for name, payload in expected])


def broker_may_use_aliases_towards_the_client(lab):
    # [MQTT-3.1.2-26]
    subscriber, publisher = lab.connect("sub", topic_alias_maximum=2), lab.connect("pub")
    subscriber.subscribe(lab.topic("#"), 1)
    names = [lab.topic(level) for level in ("a", "b", "c", "d")] * 3
    for name in names:
        publisher.publish(name, "x", 1)
    equal([subscriber.receive() for _ in names], [message(name, "x", 1) for name in names])


def receive_maximum_is_kept(lab):
    # [MQTT-3.3.4-7]
    topic = lab.topic("window")
    subscriber, publisher = lab.connect("sub", receive_maximum=1), lab.connect("pub")
    subscriber.subscribe(topic, 2)
    for number in range(50):
        publisher.publish(topic, str(number), 2)
    equal([subscriber.receive() for _ in range(50)], [message(topic, str(number), 2) for number in range(50)])


def reason_codes_of_acknowledgements(lab):
    client = lab.connect("both")
    for qos in (0, 1, 2):
        equal(client.subscribe(lab.topic(str(qos)), qos), [qos])
    # [MQTT-3.11.3-2]
    if "unsubscribe reasons" not in lab.driver.cannot:
        equal(client.unsubscribe(lab.topic("0")), [0x00])
        equal(client.unsubscribe(lab.topic("never")), [0x11])
    # At QoS 2 the answer is in PUBREC, which most clients do not show.
    if "publish reasons" not in lab.driver.cannot:
        equal(client.publish(lab.topic("nobody"), "x", 1), 0x10)
        equal(client.publish(lab.topic("1"), "x", 1), 0x00)


def broker_topics_are_not_for_clients(lab):
    equal(lab.connect("both").publish("$SYS/interop", "x", 1), 0x87)


def empty_client_id_is_answered_by_one(lab):
    # [MQTT-3.1.3-6] [MQTT-3.1.3-7]
    first, second = lab.connect("none", client_id=""), lab.connect("none", client_id="")
    ids = [client.properties["assigned_client_id"] for client in (first, second)]
    equal((len(set(ids)), [0 < len(name) <= 22 for name in ids]), (2, [True, True]))


def all_scenarios(driver):
    """Every (name, check) that the driver's client can take part in."""
    for version in VERSIONS:
        if version in driver.versions:
            for scenario, arguments in _scenarios_of(version, driver):
                suffix = "".join(f", QoS {qos}" for qos in arguments)
                yield f"{version} {scenario.__name__.replace('_', ' ')}{suffix}", _bind(driver, version, scenario, arguments)


def _bind(driver, version, scenario, arguments):
    def check():
        lab = Lab(driver, version)
        try:
            scenario(lab, *arguments)
        finally:
            lab.close()

    return check


def _scenarios_of(version, driver):
    each_qos = [(0,), (1,), (2,)]
    table = [
        (publish_reaches_each_subscriber_at_the_lower_qos, each_qos),
        (wildcards_match_whole_levels, [()]),
        (unsubscribed_filter_is_silent, [()]),
        (retained_message_is_set_replaced_and_cleared, [()]),
        (will_goes_out_when_the_socket_is_cut, each_qos),
        (retained_will_stays, [()]),
        (disconnect_takes_the_will_away, [()]),
        (session_resumes_with_what_was_queued, [()]),
        (same_id_takes_the_connection_over, [()]),
        (large_payload_arrives_whole, each_qos),
        (many_in_flight_keep_their_order, each_qos),
    ]
    if version == "5.0":
        table += [
            (publish_properties_arrive_unchanged, each_qos),
            (retained_and_will_keep_their_properties, [()]),
            (will_waits_for_its_delay, [()]),
            (resumed_session_cancels_a_delayed_will, [()]),
            (message_expiry_counts_down_while_queued, [()]),
            (overlapping_filters_give_one_copy_with_every_identifier, [()]),
            (subscription_options_are_obeyed, [()]),
            (shared_group_takes_turns, each_qos),
            (shared_group_survives_a_member, [()]),
            (topic_alias_stands_for_the_topic, [()]),
            (broker_may_use_aliases_towards_the_client, [()]),
            (receive_maximum_is_kept, [()]),
            (reason_codes_of_acknowledgements, [()]),
            (broker_topics_are_not_for_clients, [()]),
            (empty_client_id_is_answered_by_one, [()]),
        ]
    for scenario, argument_lists in table:
        if NEEDS.get(scenario, set()) & driver.cannot:
            continue
        for arguments in argument_lists:
            yield scenario, arguments


# What a scenario cannot do without; drivers say what their clients lack.
NEEDS = {
    topic_alias_stands_for_the_topic: {"topic alias"},
    broker_topics_are_not_for_clients: {"publish reasons"},
    empty_client_id_is_answered_by_one: {"empty client id"},
    receive_maximum_is_kept: {"receive maximum"},
}
