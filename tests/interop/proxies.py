"""haproxy in front: it says by PROXY v1, v2 and HTTP who its client is."""

import contextlib
import functools
import socket
import subprocess

import tools
from checks import equal
from door_broker import until

CONFIGURATION = """
defaults
    timeout connect 10s
    timeout client 60s
    timeout server 60s

listen v1
    mode tcp
    bind 127.0.0.1:{v1}
    server dunlin 127.0.0.1:{proxied} send-proxy

listen v2
    mode tcp
    bind 127.0.0.1:{v2}
    server dunlin 127.0.0.1:{proxied} send-proxy-v2 proxy-v2-options crc32c,unique-id

listen v2tls
    mode tcp
    bind 127.0.0.1:{v2tls} ssl crt {folder}/server.pem ca-file {folder}/authority.crt verify optional
    server dunlin 127.0.0.1:{proxied} send-proxy-v2 proxy-v2-options ssl,cert-cn,authority,crc32c

listen checked
    mode tcp
    bind 127.0.0.1:{checked}
    server dunlin 127.0.0.1:{proxied} send-proxy-v2 check check-send-proxy inter 200ms

listen http
    mode http
    option forwardfor
    bind 127.0.0.1:{http}
    server dunlin 127.0.0.1:{page}
"""


def all_checks(doors):
    for version in ["v1", "v2"]:
        yield f"PROXY {version} says where the client is", functools.partial(by_tcp, doors, version)
    yield "PROXY v2 over TLS with a client's certificate", functools.partial(by_tls, doors)
    yield "X-Forwarded-For says where the client is", functools.partial(by_http, doors)
    yield "health checks of a proxy do no harm", functools.partial(health_checks, doors)


def by_tcp(doors, frontend):
    with doors.running() as broker, haproxy(doors, broker) as ports:
        address = client(f"mqtt://127.0.0.1:{ports[frontend]}", doors)
        broker.event("connection_end", listener="proxied", address=address, reason="client_disconnected")


def by_tls(doors):
    with doors.running() as broker, haproxy(doors, broker) as ports:
        certificate = [doors.folder / "client.crt", doors.folder / "client.key"]
        address = client(f"mqtts://127.0.0.1:{ports['v2tls']}", doors, *certificate)
        broker.event("connection_end", listener="proxied", address=address, reason="client_disconnected")


def by_http(doors):
    with doors.running() as broker, haproxy(doors, broker) as ports:
        client(f"ws://127.0.0.1:{ports['http']}/mqtt", doors)
        # The field has no port.
        broker.event("connection_end", listener="page", address="127.0.0.1:0", transport="ws")


def health_checks(doors):
    with doors.running() as broker, haproxy(doors, broker) as ports:
        for _ in range(3):
            client(f"mqtt://127.0.0.1:{ports['checked']}", doors)
        broker.event("connection_end", listener="proxied", reason="connection_lost")


def client(url, doors, *certificate):
    """Sends messages through, and says from which address."""
    command = [tools.python(), tools.HERE / "drivers" / "paho_address.py", url, doors.authority, *certificate]
    done = subprocess.run(command, timeout=60, text=True, capture_output=True)
    equal((done.returncode, done.stderr), (0, ""))
    return done.stdout.strip()


@contextlib.contextmanager
def haproxy(doors, broker):
    names = ["v1", "v2", "v2tls", "checked", "http"]
    ports = dict(zip(names, free_ports(len(names))))
    configuration = doors.folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION.format(folder=doors.folder, **{**broker.ports, **ports}))
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", configuration], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until(lambda: listens(ports["http"]), "haproxy listens")
        yield ports
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
