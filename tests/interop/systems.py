#!/usr/bin/env python3
"""The two systems of examples/ as they are configured there, with Paho and PyJWT: what is allowed works, all else is refused.

Runs with the interpreter of the interop environment: `systems.py BROKER`.
"""

import contextlib
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import broker
from checks import Checks, equal
from paho_client import PahoClient, refusal

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
RUN_SECS = 60

BAD_CREDENTIALS = 0x86
NOT_AUTHORIZED = 0x87


class Installation:
    """A copy of one example, in a folder of its own, with its users."""

    def __init__(self, name, binary, folder, users):
        self.folder = pathlib.Path(folder) / name
        self.binary = pathlib.Path(binary).resolve()
        shutil.copytree(EXAMPLES / name, self.folder)
        configuration = self.folder / "dunlin.toml"
        text = re.sub(r'"127\.0\.0\.1:\d+"', '"127.0.0.1:0"', configuration.read_text())
        # So many wrong logins from one address would have to wait.
        configuration.write_text(f"{text}\n[logins]\nthrottle = false\n")
        for user, options in users.items():
            self.dunlin("user", "add", user, "--file", "users", *options, password=f"password of {user}")

    def explained(self, *arguments):
        """The answer of `dunlin acl explain`, and the rule with its line if there is one."""
        done = subprocess.run(
            [self.binary, "acl", "explain", "--acl", *arguments],
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=RUN_SECS,
        )
        lines = done.stdout.splitlines()
        equal((done.returncode, done.stderr), (0 if lines[0].startswith("allowed: ") else 7, ""))
        return lines[0], next((line for line in lines if line.startswith("rule: ")), None)

    def dunlin(self, *arguments, password=None):
        done = subprocess.run(
            [self.binary, *arguments], cwd=self.folder, text=True, capture_output=True, input=password, timeout=RUN_SECS
        )
        equal((done.returncode, done.stderr), (0, ""))
        return done.stdout

    @contextlib.contextmanager
    def running(self):
        with broker.configured(self.binary, "dunlin.toml", self.folder) as log:
            yield log.port()


def back_office(checks, binary, folder):
    users = {
        "collector": ["--tenant", "ssni", "--role", "BUBBLE_UP_PRODUCER"],
        "operator": ["--tenant", "ssni", "--role", "OPERATOR"],
        "retired": ["--tenant", "ssni"],
    }
    installation = Installation("back-office", binary, folder, users)
    issuer = module(installation.folder / "issuer.py")
    key = issuer.key(installation.folder)
    stranger = issuer.key(pathlib.Path(tempfile.mkdtemp(dir=folder)))

    def token(tenant, *roles, lifetime=3600, by=key, **claims):
        return issuer.token(by, tenant, list(roles), lifetime, **claims)

    def consumer(port, client_id, tenant="testTenant", role="BUBBLE_UP_READ_CONSUMER", **options):
        return PahoClient(port, client_id, "anybody", token(tenant, role), **options)

    def internal(port, user, **options):
        return PahoClient(port, f"of {user}", user, f"password of {user}", **options)

    def a_role_gives_its_tenant_its_readings_and_nothing_else():
        for version in ("5.0", "3.1.1"):
            refused = NOT_AUTHORIZED if version == "5.0" else 0x80
            client = consumer(port, "reader", version=version)
            allowed = ["testTenant/read/#", "testTenant/read/+/kwh", "$share/group/testTenant/read/#"]
            equal(client.subscribe(*allowed), [1, 1, 1])
            beyond = ["#", "+/read/#", "testTenant/#", "testTenant/+", "otherTenant/read/#", "testTenant2/read/#", "$share/group/#"]
            equal(client.subscribe(*beyond), [refused] * len(beyond))
            client.close()
        client = consumer(port, "reader")
        for topic in ("testTenant/read/1", "testTenant/command/1/request", "x"):
            equal((topic, client.publish(topic, "x")), (topic, NOT_AUTHORIZED))
        client.close()

    def readings_reach_their_tenant_only():
        readers = {tenant: consumer(port, f"reader of {tenant}", tenant) for tenant in ("one", "two")}
        for tenant, reader in readers.items():
            equal(reader.subscribe(f"{tenant}/read/#"), [1])
        collector = internal(port, "collector")
        for tenant in ("one", "two", "three"):
            equal(collector.publish(f"{tenant}/read/meter", f"for {tenant}") in (0, 0x10), True)
        for tenant, reader in readers.items():
            equal(reader.receive(), [(f"{tenant}/read/meter", f"for {tenant}", 1, False)])
        equal([reader.waiting() for reader in readers.values()], [0, 0])
        for client in (collector, *readers.values()):
            client.close()

    def commands_go_out_and_come_back():
        sender = consumer(port, "sender", "one", "COMMAND_SENDER")
        equal(sender.subscribe("one/command/+/response", "one/command/#"), [1, NOT_AUTHORIZED])
        program = internal(port, "collector")
        equal(program.subscribe("+/command/+/request", "+/read/#"), [1, NOT_AUTHORIZED])
        equal(sender.publish("one/command/7/request", "open"), 0)
        equal(sender.publish("two/command/7/request", "open"), NOT_AUTHORIZED)
        equal(program.receive(), [("one/command/7/request", "open", 1, False)])
        equal(program.publish("one/command/7/response", "opened"), 0)
        equal(sender.receive(), [("one/command/7/response", "opened", 1, False)])
        sender.close()
        program.close()

    def internal_users_have_their_roles_only():
        operator = internal(port, "operator")
        equal(operator.subscribe("#"), [1])
        equal(operator.publish("one/read/x", "x"), NOT_AUTHORIZED)
        operator.close()
        retired = internal(port, "retired")
        equal(retired.subscribe("ssni/read/#", "#"), [NOT_AUTHORIZED] * 2)
        retired.close()

    def nobody_else_comes_in():
        good = token("testTenant", "OPERATOR")
        head, claims, signature = good.split(".")
        other = token("otherTenant", "OPERATOR").split(".")[1]
        wrong = {
            "no credentials": (None, None, NOT_AUTHORIZED),
            "a wrong password": ("collector", "guess", BAD_CREDENTIALS),
            "a user nobody knows": ("nobody", "password of nobody", BAD_CREDENTIALS),
            "another user's password": ("collector", "password of operator", BAD_CREDENTIALS),
            "a token that has ended": ("x", token("t", "OPERATOR", lifetime=-31), BAD_CREDENTIALS),
            "a token that is not yet": ("x", token("t", "OPERATOR", nbf=time.time() + 40), BAD_CREDENTIALS),
            "a token for something else": ("x", token("t", "OPERATOR", aud="billing"), BAD_CREDENTIALS),
            "a token of another issuer": ("x", token("t", "OPERATOR", iss="https://other.example"), BAD_CREDENTIALS),
            "a token by another key": ("x", token("t", "OPERATOR", by=stranger), BAD_CREDENTIALS),
            "a token with other claims": ("x", f"{head}.{other}.{signature}", BAD_CREDENTIALS),
            "a token without a signature": ("x", f"{head}.{claims}.", BAD_CREDENTIALS),
        }
        for name, (user, password, code) in wrong.items():
            for version in ("5.0", "3.1.1"):
                equal((name, refusal(port, "intruder", user, password, version)), (name, code))

    def no_tenant_s_name_reaches_further():
        for tenant in ("+", "#", "one/read"):
            equal((tenant, refusal(port, "odd", "x", token(tenant, "BUBBLE_UP_READ_CONSUMER")) >= 0x80), (tenant, True))

    def a_client_goes_when_its_token_ends():
        # Thirty seconds of leeway after the end.
        client = PahoClient(port, "short", "x", token("one", "BUBBLE_UP_READ_CONSUMER", lifetime=-28))
        equal(client.ended(), NOT_AUTHORIZED)

    def much_is_kept_for_who_is_away():
        count = 50_000
        reader = consumer(port, "away", "deep", kept=True)
        equal(reader.subscribe("deep/read/#", qos=2), [2])
        reader.close()
        collector = internal(port, "collector")
        equal(collector.publish_many("deep/read/meter", count - 1), {0})
        equal(collector.publish("deep/read/meter", "the last", qos=2), 0)
        collector.close()
        reader = consumer(port, "away", "deep", kept=True)
        equal(reader.session_present, True)
        received = reader.receive(count)
        expected = [("deep/read/meter", str(number), 1, False) for number in range(count - 1)]
        equal(received, [*expected, ("deep/read/meter", "the last", 2, False)])
        reader.close()

    def every_answer_is_explained_with_its_line():
        tenant = ["roles.toml", "--user", "testTenant", "--tenant", "testTenant", "--client", "c"]
        role = ["--role", "BUBBLE_UP_READ_CONSUMER"]
        rule = "rule: roles.toml:6: role BUBBLE_UP_READ_CONSUMER: allow subscribe {tenantId}/read/#"
        equal(
            installation.explained(*tenant, *role, "subscribe", "testTenant/read/#"),
            ("allowed: subscribe testTenant/read/# at QoS 0: granted at QoS 0", rule),
        )
        equal(
            installation.explained(*tenant, *role, "subscribe", "testTenant/#"),
            ("refused: subscribe testTenant/# at QoS 0: the filter matches more than the rules allow", rule),
        )
        equal(
            installation.explained(*tenant, *role, "publish", "testTenant/read/x"),
            ("refused: publish testTenant/read/x at QoS 0: no rule allows it", None),
        )

    with installation.running() as port:
        for check in (
            every_answer_is_explained_with_its_line,
            a_role_gives_its_tenant_its_readings_and_nothing_else,
            readings_reach_their_tenant_only,
            commands_go_out_and_come_back,
            internal_users_have_their_roles_only,
            nobody_else_comes_in,
            no_tenant_s_name_reaches_further,
            a_client_goes_when_its_token_ends,
            much_is_kept_for_who_is_away,
        ):
            checks.run(check.__name__.replace("_", " "), check)


def dissemination(checks, binary, folder):
    users = {name: [] for name in ("announcer", "oslo", "bern", "lisbon")}
    installation = Installation("dissemination", binary, folder, users)

    def user(port, name, client_id=None, **options):
        return PahoClient(port, client_id or f"of {name}", name, f"password of {name}", **options)

    def announce(port, destination, run):
        location = f"https://data.example/{destination}/{run}"
        done = subprocess.run(
            [sys.executable, installation.folder / "announce.py", "--port", str(port), "--destination", destination,
             "--product", "wind", "--run", run, "--location", location],
            env={"ANNOUNCER_PASSWORD": "password of announcer"}, text=True, capture_output=True, timeout=RUN_SECS,
        )
        equal((done.returncode, done.stderr), (0, ""))
        return (f"destinations/{destination}/wind/{run}", location)

    def notices_reach_their_destinations_only():
        clients = {name: user(port, name) for name in ("oslo", "bern", "lisbon")}
        equal(clients["oslo"].subscribe("destinations/nordic/#", "destinations/ocean/#"), [1, 1])
        equal(clients["bern"].subscribe("destinations/alps/#"), [1])
        equal(clients["lisbon"].subscribe("destinations/ocean/#"), [1])
        notices = {name: announce(port, name, "00") for name in ("nordic", "alps", "ocean")}
        live = {name: (*notice, 1, False) for name, notice in notices.items()}
        equal(clients["oslo"].receive(2), [live["nordic"], live["ocean"]])
        equal(clients["bern"].receive(), [live["alps"]])
        equal(clients["lisbon"].receive(), [live["ocean"]])
        equal([client.waiting() for client in clients.values()], [0, 0, 0])
        for client in clients.values():
            client.close()

    def who_comes_later_learns_of_what_is_there():
        topic, location = announce(port, "alps", "06")
        client = user(port, "bern", "late")
        equal(client.subscribe("destinations/alps/+/06"), [1])
        equal(client.receive(), [(topic, location, 1, True)])
        client.close()

    def nobody_sees_another_s_destinations():
        client = user(port, "bern")
        beyond = ["#", "destinations/#", "destinations/+/wind/00", "destinations/nordic/#", "destinations/ocean/wind/00", "destinations/+"]
        equal(client.subscribe(*beyond), [NOT_AUTHORIZED] * len(beyond))
        for topic in ("destinations/alps/wind/00", "destinations/nordic/wind/00", "x"):
            equal((topic, client.publish(topic, "forged", retain=True)), (topic, NOT_AUTHORIZED))
        client.close()
        equal(refusal(port, "x", "bern", "password of oslo"), BAD_CREDENTIALS)
        equal(refusal(port, "x"), NOT_AUTHORIZED)

    def the_announcer_only_announces():
        client = user(port, "announcer")
        equal(client.subscribe("destinations/#", "destinations/nordic/#"), [NOT_AUTHORIZED] * 2)
        equal(client.publish("elsewhere", "x"), NOT_AUTHORIZED)
        client.close()

    def every_answer_is_explained_with_its_line():
        def explained(name, *question):
            return installation.explained("rules.toml", "--user", name, "--client", "c", *question)

        equal(
            explained("oslo", "subscribe", "destinations/ocean/+/today"),
            (
                "allowed: subscribe destinations/ocean/+/today at QoS 0: granted at QoS 0",
                "rule: rules.toml:14: role destination-ocean: allow subscribe destinations/ocean/#",
            ),
        )
        equal(
            explained("bern", "subscribe", "destinations/ocean/#"),
            ("refused: subscribe destinations/ocean/# at QoS 0: no rule allows it", None),
        )

    with installation.running() as port:
        for check in (
            every_answer_is_explained_with_its_line,
            notices_reach_their_destinations_only,
            who_comes_later_learns_of_what_is_there,
            nobody_sees_another_s_destinations,
            the_announcer_only_announces,
        ):
            checks.run(check.__name__.replace("_", " "), check)


def module(path):
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: systems.py BROKER")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for system in (back_office, dissemination):
            checks = Checks(system.__name__.replace("_", "-"), set())
            system(checks, sys.argv[1], folder)
            checks.close()
            failed += checks.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
