"""Lines of results, and the Markdown they become."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Line:
    """One line of a row's table; an empty cell has nothing to say."""

    what: str
    figure: str
    ratio: str = ""
    spread: str = ""
    bar: str = ""
    met: bool | None = None
    note: str = ""

    def markdown(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        cells = [self.what, self.figure, self.ratio, self.spread, self.bar, met, self.note]
        return "| " + " | ".join(cells) + " |"


@dataclass
class Row:
    title: str
    # How it was measured, in a sentence or two.
    how: str
    lines: list[Line]
    unit: str = "CPU µs a request"
    against: str = "against bare hyper"

    def markdown(self) -> str:
        head = f"| | {self.unit} | {self.against} | rounds | bar | met | |\n|---|---|---|---|---|---|---|"
        return "\n".join([f"### {self.title}", "", self.how, "", head, *(x.markdown() for x in self.lines)])


def at_most(value: float, bar: float, form: str = "{:.2f}") -> tuple[str, bool]:
    """The cells `bar` and `met`; judged as printed, so that the two agree."""
    shown = float(form.format(value).replace(",", "").split()[0])
    return f"≤ {form.format(bar)}", shown <= bar
