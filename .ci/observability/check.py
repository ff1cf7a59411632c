"""Compares the documents about metrics with the metrics that a gateway declares and exposes.

    check.py PAGE EXPOSITION [--write]

PAGE is what `pai-image-gateway docs metrics` prints. --write renews docs/metrics.md first.
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
        case [page, path]:
            is_to_write = False
        case [page, path, "--write"]:
            is_to_write = True
        case _:
            sys.exit(__doc__)
    declared = Path(page).read_text(encoding="utf-8")
    exposed = exposition.read(Path(path))
    if is_to_write:
        metrics_page.PAGE.write_text(declared, encoding="utf-8")
    families = metrics_page.read(declared)
    vocabulary = Vocabulary(families)
    found = [
        *metrics_page.problems(declared, families, exposed),
        *dashboards.problems(vocabulary),
        *alerts.problems(vocabulary),
    ]
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        sys.exit(f"{len(found)} problems")
    print(f"{len(families)} metrics, {len(exposed)} exposed: page, dashboard, alerts and runbook agree with them")


if __name__ == "__main__":
    main()
