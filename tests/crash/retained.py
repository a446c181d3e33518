"""Retained topics of these tests: each publisher has a few, and what it retains there rises, or is cleared."""

# Topics of each publisher.
TOPICS = 4
# How many of a topic's values come before it is cleared once.
CLEAR_EVERY = 5


def topic_of(publisher, number):
    return f"crash/retained/{publisher}/{number % TOPICS}"


def is_clear(number):
    """Whether the message with that number clears its topic."""
    return (number // TOPICS) % CLEAR_EVERY == CLEAR_EVERY - 1


def findings(topic, value, acknowledged, sent):
    """`value` is what the topic holds, None if nothing. It must be what was acknowledged last or sent later.

    `acknowledged` was read before the topic, `sent` after it; both hold the numbers of this topic only.
    """
    from_number = max(acknowledged, default=0)
    candidates = {number for number in sent if number >= from_number}
    if from_number == 0:
        candidates.add(0)
    if value is None:
        if 0 in candidates or any(is_clear(number) for number in candidates):
            return []
        return [f"{topic}: holds nothing, {from_number} was acknowledged"]
    if value in candidates and not is_clear(value):
        return []
    return [f"{topic}: holds {value}, {from_number} was acknowledged last"]
