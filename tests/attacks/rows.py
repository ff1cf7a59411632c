"""A row of the suite: a text, and a function that attacks and returns its measurement."""

REGISTERED = []
_OPEN = []


class Failed(Exception):
    """The attack succeeds; the text has the measurement."""


class Skipped(Exception):
    """The row needs something that is missing here."""


def row(text):
    def register(attack):
        REGISTERED.append((text, attack))
        return attack
    return register


def must(holds, measured):
    """Returns the measurement if the property holds."""
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
