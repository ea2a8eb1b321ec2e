"""Write the table of models into README.md, from the registry of the installed library.

Run it from any folder, whenever the registry has changed::

    python docs/make_model_table.py            # write the table
    python docs/make_model_table.py --check    # only tell, by the exit code, whether README.md is up to date
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pixel_embedded_affinity.models.registry import ModelEntry, newest_entries

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
ABBREVIATIONS = {"dic": "DiC"} | {
    name: name.upper() for name in ("aji", "ap", "arand", "f1", "fg", "iou", "pq", "sbd", "sq", "dq", "voi")
}
HEADINGS = ("model", "version", "segments", "trained on", "measured scores", "license of the weights", "size")


def main() -> int:
    """Update or check README.md; return the exit code."""
    text = README.read_text(encoding="utf-8")
    updated = with_table(text, table(newest_entries()))
    if "--check" in sys.argv[1:]:
        print("README.md is up to date" if updated == text else "README.md differs: run this without --check")
        return int(updated != text)
    README.write_text(updated, encoding="utf-8")
    return 0


def with_table(text: str, lines: str) -> str:
    """Put the table between the two markers of a text."""
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise SystemExit(f"README.md lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"


def table(entries: Mapping[str, ModelEntry]) -> str:
    """Return the models as a Markdown table, sorted by name."""
    if not entries:
        return "This release lists no model."
    head = [row(HEADINGS), row(["---"] * len(HEADINGS))]
    return "\n".join(head + [row(cells(entries[name])) for name in sorted(entries)])


def cells(entry: ModelEntry) -> list[str]:
    """Return the entries of a model's row, in the order of the headings."""
    scores = ", ".join(f"{score_name(name)} {value:.4g}" for name, value in entry.scores.items())
    return [
        f"`{entry.name}`",
        entry.version,
        entry.description,
        entry.data,
        scores or "none yet",
        entry.license,
        f"{entry.size / 1e6:.1f} MB",
    ]


def score_name(key: str) -> str:
    """Write a score's key for a reader: ``validation_aji`` becomes ``validation AJI``."""
    return " ".join(ABBREVIATIONS.get(word, word) for word in key.split("_"))


def row(entries: list[str] | tuple[str, ...]) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(entry.replace("|", "\\|").replace("\n", " ") for entry in entries) + " |"


if __name__ == "__main__":
    sys.exit(main())
