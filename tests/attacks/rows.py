"""A row of the suite: a text, and a function that attacks and returns what it measured."""

REGISTERED = []
_OPEN = []


class Failed(Exception):
    """The attack works; the text tells what was measured."""


class Skipped(Exception):
    """The row needs what is not here."""


def row(text):
    def register(attack):
        REGISTERED.append((text, attack))
        return attack
    return register


def must(holds, measured):
    """What was measured, if the property holds."""
    if not holds:
        raise Failed(measured)
    return measured


def opened(thing):
    """Closes `thing` when the row ends."""
    _OPEN.append(thing)
    return thing


def clean_up():
    while _OPEN:
        try:
            _OPEN.pop().close()
        except OSError:
            pass
