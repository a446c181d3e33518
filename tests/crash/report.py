"""How what was found is shown."""

SHOWN_MAX = 20


def nothing_found(findings):
    """For a check of `checks.Checks`."""
    if findings:
        more = f"\n  and {len(findings) - SHOWN_MAX} more" if len(findings) > SHOWN_MAX else ""
        raise AssertionError("".join(f"\n  {line}" for line in findings[:SHOWN_MAX]) + more)
