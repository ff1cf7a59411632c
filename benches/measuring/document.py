"""Parts of documents that commands write: those between a comment with the command's name and another."""

from __future__ import annotations

from pathlib import Path

END = "<!-- to here -->"


def write(document: Path, command: str, text: str) -> None:
    """Replaces the part that this command makes; the document must have it."""
    before, start, rest = _parts(document, command)
    document.write_text(before + start + text + END + rest.partition(END)[2])


def read(document: Path, command: str) -> str:
    """The part that this command has made."""
    return _parts(document, command)[2].partition(END)[0]


def _parts(document: Path, command: str) -> tuple[str, str, str]:
    parts = document.read_text().partition(f"<!-- made by {command} -->\n")
    if not parts[1]:
        raise ValueError(f"{document} has no part made by {command}")
    return parts
