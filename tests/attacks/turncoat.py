"""An origin that is honest until a gateway has cached its images, and then is not."""

import time

from gateway import Gateway, Growth, MiB
from rows import must
from upstream import Origin, answer, image

SHORT = ('freshness.min=1s', 'freshness.max=1s', 'freshness.max_verbose=1s', 'freshness.stale_while_revalidate_min=0s', 'freshness.stale_while_revalidate_max=0s')


class Turncoat:
    """Answers honestly until it is turned, then with `wrong(call)`."""

    def __init__(self, wrong):
        self.wrong, self.turned = wrong, False

    def __call__(self, call):
        return self.wrong(call) if self.turned else answer(body=image(call.image))


def turned(wrong, names, *settings):
    """A gateway with stale entries for these images, whose origin has turned."""
    turncoat = Turncoat(wrong)
    gateway = Gateway(Origin(turncoat), *SHORT, *settings)
    assert all(gateway.image(name)[0] == 200 for name in names)
    time.sleep(1.3)
    turncoat.turned = True
    return gateway


def table(cases):
    """For each case a cached image and a new one: the good copy stays, and no new image is answered 200."""
    kinds = list(cases)
    gateway = turned(lambda call: cases[kinds[int(call.image.rsplit('-', 1)[1])]](call), [f'known-{k}' for k in range(len(kinds))],
                     'upstream.breaker_failures=100000', 'upstream.retry_percent=0')
    wrong = []
    for k, kind in enumerate(kinds):
        known, new = gateway.image(f'known-{k}'), gateway.image(f'new-{k}')
        if known[0] != 200 or f'registry.example/known-{k}'.encode() not in known[2] or new[0] == 200:
            wrong.append(f'{kind}: {known[0]} and {new[0]}')
    return must(not wrong and gateway.is_alive(), f'{len(kinds)} kinds: the known image stays' if not wrong else '; '.join(wrong))


def costs(wrong, limit=48 * MiB, processor=2.5, longest=12):
    """A cached image and a new one: the memory of the responses, and the clients' wait."""
    gateway = turned(wrong, ['known'])
    growth, began = Growth(gateway), time.monotonic()
    known, new = gateway.image('known'), gateway.image('new')
    took = time.monotonic() - began
    growth.look(2)
    measured = f'{known[0]} and {new[0]} after {took:.1f} s, {growth}'
    cheap = took < longest and growth.bytes() < limit and growth.seconds() < processor
    gateway.close()
    return must(cheap and known[0] == 200 and new[0] != 200, measured)
