"""The line protocol of a driver written in Python: commands in, answers and events out."""

import json
import sys
import threading

_output_lock = threading.Lock()


def send(entry):
    with _output_lock:
        sys.stdout.write(json.dumps(entry) + "\n")
        sys.stdout.flush()


def serve(hello, operations):
    """Answers every command with what `operations[op](**arguments)` gives."""
    send(hello)
    for line in sys.stdin:
        command = json.loads(line)
        number, op = command.pop("id"), command.pop("op")
        try:
            send({"id": number, "ok": operations[op](**command) or {}})
        except Exception as error:  # The scenario decides what a refusal means.
            send({"id": number, "error": f"{type(error).__name__}: {error}"})
