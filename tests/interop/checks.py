"""Named checks, counted: the closing lines say how many passed and failed."""

import pathlib
import time
import traceback

SHOWN_MAX = 4000


class Checks:
    """The outcome of one client's checks. Failures in `expected` are counted apart, and must still happen."""

    def __init__(self, subject, expected):
        self.subject = subject
        self._expected = expected
        self.passed = 0
        self.failed = 0
        self.as_expected = 0

    def run(self, name, check):
        """True if the check did what was expected of it."""
        full_name = f"{self.subject}: {name}"
        expected = full_name in self._expected
        started = time.monotonic()
        try:
            check()
        except Exception as error:  # Whatever went wrong is the finding.
            self._failed(full_name, error, expected)
            return expected
        if expected:
            self.failed += 1
            print(f"FAILED {full_name}: it passed, but is listed as an expected failure", flush=True)
            return False
        self.passed += 1
        print(f"ok {full_name} ({time.monotonic() - started:.1f} s)", flush=True)
        return True

    def _failed(self, full_name, error, expected):
        words = f"{type(error).__name__}: {error}"
        if expected:
            self.as_expected += 1
            print(f"expected failure {full_name}: {words}", flush=True)
            return
        self.failed += 1
        print(f"FAILED {full_name}: {words}", flush=True)
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        for frame in ours:
            print(f"    {pathlib.Path(frame.filename).name}:{frame.lineno} {frame.line}", flush=True)

    def close(self):
        apart = f", {self.as_expected} failed as expected" if self.as_expected else ""
        print(f"{self.subject}: {self.passed} passed, {self.failed} failed{apart}", flush=True)


def equal(actual, expected):
    """Whole values: a difference shows both."""
    if actual != expected:
        raise AssertionError(f"\n  expected {_shown(expected)}\n  actual   {_shown(actual)}")


def _shown(value):
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}... ({len(text)} characters)"
