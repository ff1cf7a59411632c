"""Compares what is written about the metrics with what a gateway exposes.

    check.py EXPOSITION [--write]

--write renews docs/metrics.md first.
"""

import sys
from pathlib import Path

import alerts
import dashboards
import exposition
import metrics_page
from vocabulary import Vocabulary


def main() -> None:
    match sys.argv[1:]:
        case [path]:
            is_to_write = False
        case [path, "--write"]:
            is_to_write = True
        case _:
            sys.exit(__doc__)
    families = exposition.read(Path(path))
    if is_to_write:
        metrics_page.PAGE.write_text(metrics_page.write(families), encoding="utf-8")
    vocabulary = Vocabulary(families)
    found = [
        *metrics_page.problems(families),
        *dashboards.problems(vocabulary),
        *alerts.problems(vocabulary),
    ]
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        sys.exit(f"{len(found)} problems")
    print(f"{len(families)} metrics: page, dashboard, alerts and runbook agree with them")


if __name__ == "__main__":
    main()
