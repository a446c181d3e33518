"""What must not get in, by raw sockets: each is told why as far as its protocol has words for it, and the log has the reason."""

import functools
import socket
import struct

from checks import equal

SECS = 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "127.0.0.1",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "mqtt",
}
CONNECT = bytes.fromhex("100c00044d5154540402003c0000")
CONNACK = bytes.fromhex("20020000")


def request(line="GET /mqtt HTTP/1.1", **changes):
    """A request with some fields as `changes` has them, or without those that are None."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# The listener, what is sent, how the answer begins, the reason in the log.
REFUSED = {
    "a head of 100 KiB": ("ws", request(X="x" * 102_400), b"HTTP/1.1 431 ", "http_head_too_large"),
    "another subprotocol": ("ws", request(Sec_WebSocket_Protocol="chat"), b"HTTP/1.1 400 ", "websocket_subprotocol"),
    "no subprotocol": ("ws", request(Sec_WebSocket_Protocol=None), b"HTTP/1.1 400 ", "websocket_subprotocol"),
    "another subprotocol where none is needed": (
        "mild", request("GET / HTTP/1.1", Sec_WebSocket_Protocol="chat"), b"HTTP/1.1 400 ", "websocket_subprotocol"
    ),
    "a foreign origin": ("ws", request(Origin="https://foreign.example"), b"HTTP/1.1 403 ", "websocket_origin"),
    "a foreign origin where one is allowed": (
        "page", request(Origin="https://foreign.example"), b"HTTP/1.1 403 ", "websocket_origin"
    ),
    "another path": ("ws", request("GET /other HTTP/1.1"), b"HTTP/1.1 404 ", "websocket_path"),
    "another method": ("ws", request("POST /mqtt HTTP/1.1"), b"HTTP/1.1 405 ", "http_no_websocket_request"),
    "a browser's visit": ("auto", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 ", "http_no_websocket_request"),
    "another version": ("ws", request(Sec_WebSocket_Version="8"), b"HTTP/1.1 426 ", "websocket_request_invalid"),
    "a key that is none": ("ws", request(Sec_WebSocket_Key="x"), b"HTTP/1.1 400 ", "websocket_request_invalid"),
    "a head that is none": ("ws", b"GET /mqtt\r\n\r\n", b"HTTP/1.1 400 ", "http_head_invalid"),
    "MQTT where WebSocket is spoken": ("ws", CONNECT, b"", "mqtt_on_websocket_port"),
    "TLS where WebSocket is spoken": ("ws", b"\x16\x03\x01\x02\0\x01", b"", "tls_on_plain_port"),
    "neither of both": ("auto", b"\0\0\0\0", b"", "protocol_unknown"),
    "plain bytes where TLS is spoken": ("tls", CONNECT, None, "plain_bytes_on_tls_port"),
    "a request where TLS is spoken": ("wss", request(), None, "plain_bytes_on_tls_port"),
    "TLS where plain MQTT is spoken": ("default", b"\x16\x03\x01\x02\0\x01", None, "tls_on_plain_port"),
    "HTTP where MQTT is spoken": ("default", b"GET / HTTP/1.1\r\n\r\n", None, "http_on_mqtt_port"),
    "PROXY where plain MQTT is spoken": ("default", b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 1883\r\n", None, "proxy_header_unexpected"),
    "PROXY where TLS is spoken": ("tls", b"PROXY UNKNOWN\r\n", b"", "proxy_header_unexpected"),
    "PROXY where WebSocket is spoken": ("ws", b"PROXY UNKNOWN\r\n", b"", "proxy_header_unexpected"),
    "no PROXY header": ("proxied", CONNECT, b"", "proxy_header_missing"),
    "a broken PROXY header": ("proxied", b"PROXY TCP4 192.0.2.7\r\n", b"", "proxy_header_invalid"),
    "a PROXY header without end": ("proxied", b"PROXY UNKNOWN " + b"x" * 200, b"", "proxy_header_too_large"),
    "a PROXY header of a stranger": ("strangers", b"PROXY UNKNOWN\r\n", b"", "proxy_untrusted_source"),
}

def frame(first, payload):
    """A frame of a client, masked with zeros."""
    assert len(payload) < 126
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


# Frames that end a WebSocket, the code of the answer, the rule in the log.
FRAMES = {
    "a text frame": (frame(0x81, b"text"), 1003, "MQTT-6.0.0-1"),
    "an unmasked frame": (b"\x82\x02\xc0\0", 1002, "RFC 6455 s5.1"),
    "a reserved bit": (frame(0xC2, b"x"), 1002, "RFC 6455 s5.2"),
    "a reserved opcode": (frame(0x83, b"x"), 1002, "RFC 6455 s5.2"),
    "a frame of 2 GiB": (b"\x82\xff" + struct.pack(">Q", 2**31) + bytes(4), 1009, "RFC 6455 s5.2"),
    "a continuation of nothing": (frame(0x80, b"x"), 1002, "RFC 6455 s5.4"),
    "a ping in fragments": (frame(0x09, b"x"), 1002, "RFC 6455 s5.5"),
    "a close frame with a code that is none": (frame(0x88, b"\x03\xed"), 1002, "RFC 6455 s7.4"),
}


def all_checks(doors):
    for name, given in REFUSED.items():
        yield name, functools.partial(refused, doors, *given)
    for name, given in FRAMES.items():
        yield name, functools.partial(broken_frames, doors, *given)
    yield "a request that does not end", functools.partial(slow, doors)
    yield "a request that is half sent and half closed", functools.partial(half_a_request, doors)
    yield "a WebSocket that is half closed", functools.partial(half_closed, doors)
    yield "a close frame is answered", functools.partial(closed_by_the_client, doors)
    yield "a packet that is too large", functools.partial(too_large, doors)
    yield "a broker that goes says so", functools.partial(going_away, doors)


def connect(broker, listener):
    return socket.create_connection(("127.0.0.1", broker.ports[listener]), timeout=SECS)


def rest(client):
    """All that comes until the other side closes, in whatever way."""
    read = b""
    try:
        while piece := client.recv(65_536):
            read += piece
    except ConnectionResetError:
        pass
    return read


def refused(doors, listener, sent, answer, reason):
    with doors.running() as broker, connect(broker, listener) as client:
        client.sendall(sent)
        came = rest(client)
        if answer is not None:
            equal(came[: len(answer)], answer)
            equal(bool(came), bool(answer))
        broker.event("connection_refused", listener=listener, reason=reason)


def websocket(client):
    """Makes the connection a WebSocket with an MQTT client at its end."""
    client.sendall(request() + frame(0x82, CONNECT))
    read = b""
    while not read.endswith(b"\r\n\r\n\x82\x04" + CONNACK):
        piece = client.recv(65_536)
        assert piece, read
        read += piece
    assert read.startswith(b"HTTP/1.1 101 "), read


def broken_frames(doors, sent, code, rule):
    with doors.running() as broker, connect(broker, "ws") as client:
        websocket(client)
        client.sendall(sent)
        equal(rest(client), b"\x88\x02" + struct.pack(">H", code))
        broker.event("connection_end", listener="ws", reason="violation", rule=rule)


def slow(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        client.sendall(request()[:40])
        equal(rest(client), b"")
        broker.event("connection_refused", listener="ws", reason="handshake_timeout")


def half_a_request(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        client.sendall(request()[:40])
        client.shutdown(socket.SHUT_WR)
        equal(rest(client), b"")
        broker.event("connection_refused", listener="ws", reason="closed_in_handshake")


def half_closed(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        websocket(client)
        client.shutdown(socket.SHUT_WR)
        rest(client)
        broker.event("connection_end", listener="ws", reason="connection_lost")


def closed_by_the_client(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        websocket(client)
        client.sendall(frame(0x82, b"\xe0\0") + frame(0x88, b"\x03\xe8"))
        equal(rest(client), b"\x88\x02\x03\xe8")
        broker.event("connection_end", listener="ws", reason="client_disconnected")


def too_large(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        websocket(client)
        client.sendall(frame(0x82, b"\x30\xff\xff\xff\x7f\0\x01a"))
        equal(rest(client), b"\x88\x02\x03\xf1")
        broker.event("connection_end", listener="ws", reason="violation")


def going_away(doors):
    with doors.running() as broker, connect(broker, "ws") as client:
        websocket(client)
        broker.stop()
        equal(rest(client), b"\x88\x02\x03\xe9")
