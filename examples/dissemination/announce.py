#!/usr/bin/env python3
"""Announces that a product is there: a retained message whose payload says where, which expires with the product.

    announce.py --destination nordic --product wind --run 2026112900 --location https://data.example/nordic/wind-2026112900

Needs `pip install paho-mqtt`. The password of the user `announcer` is taken from $ANNOUNCER_PASSWORD.
"""

import argparse
import os

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ANSWER_SECS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--destination", required=True)
    parser.add_argument("--product", required=True)
    parser.add_argument("--run", required=True, help="which run of the product, such as its time")
    parser.add_argument("--location", required=True, help="where it can be fetched")
    parser.add_argument("--lifetime", type=int, default=3 * 24 * 3600, help="seconds for which it can be fetched")
    arguments = parser.parse_args()

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False)
    client.username_pw_set("announcer", os.environ["ANNOUNCER_PASSWORD"])
    client.connect("127.0.0.1", arguments.port)
    client.loop_start()
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = arguments.lifetime
    topic = f"destinations/{arguments.destination}/{arguments.product}/{arguments.run}"
    # QoS 1: when this returns, the notice is on stable storage and on its way to everybody whom it concerns.
    announced = client.publish(topic, arguments.location, qos=1, retain=True, properties=properties)
    announced.wait_for_publish(ANSWER_SECS)
    client.disconnect()
    client.loop_stop()
    if not announced.is_published():
        raise SystemExit(f"{topic} was not taken")


if __name__ == "__main__":
    main()
