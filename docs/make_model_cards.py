"""Write what the registry says about each model into its card, docs/models/NAME.rst, between the two markers.

Run it from any folder, whenever the registry has changed::

    python docs/make_model_cards.py            # write the cards
    python docs/make_model_cards.py --check    # only tell, by the exit code, whether they are up to date

A card's other text is written by hand: how the model was trained, what its scores mean, and its limits. The card of a
model that the registry does not list says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pixel_embedded_affinity.models.registry import ModelEntry, list_models, list_versions, newest_entries

CARDS = Path(__file__).resolve().parent / "models"
BEGIN, END = ".. registry:begin", ".. registry:end"
ABBREVIATIONS = {"dic": "DiC"} | {
    name: name.upper() for name in ("aji", "ap", "arand", "f1", "fg", "iou", "pq", "sbd", "sq", "dq", "voi")
}


def main() -> int:
    """Update or check the cards; return the exit code."""
    entries = newest_entries()
    differing = 0
    for path in card_files():
        text = path.read_text(encoding="utf-8")
        updated = with_facts(path.name, text, facts(entries.get(path.stem)))
        if updated != text:
            differing += 1
            if "--check" not in sys.argv[1:]:
                path.write_text(updated, encoding="utf-8")
    missing = sorted(set(entries) - {path.stem for path in card_files()})
    if missing:
        print(f"models without a card in docs/models: {', '.join(missing)}")
    if "--check" in sys.argv[1:] and differing:
        print(f"{differing} cards differ: run this without --check")
    return int(bool(missing) or ("--check" in sys.argv[1:] and differing > 0))


def card_files() -> list[Path]:
    """The cards, one per model."""
    return [path for path in sorted(CARDS.glob("*.rst")) if path.stem != "index"]


def with_facts(name: str, text: str, lines: str) -> str:
    """Put the facts between the two markers of a card."""
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise SystemExit(f"{name} lacks the markers {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def facts(entry: ModelEntry | None) -> str:
    """What the registry says, as a table of two columns."""
    if entry is None:
        return "The registry of this release does not list the model: there are no weights to download yet."
    _, *earlier = list_versions(entry.name) if entry.name in list_models() else [entry.version]
    rows = {
        "version": entry.version,
        **({"earlier versions": ", ".join(f"``{entry.name}@{one}``" for one in earlier)} if earlier else {}),
        "segments": entry.description,
        "trained on": entry.data,
        "license of the weights": entry.license,
        "file": f"``{entry.file}``, {entry.size / 1e6:.1f} MB",
        "SHA-256": f"``{entry.sha256}``",
        **{score_name(name): f"{value:.4g}" for name, value in entry.scores.items()},
    }
    head = ".. list-table::\n   :widths: 25 75\n   :stub-columns: 1\n\n"
    return head + "\n".join(f"   * - {name}\n     - {plain(value)}" for name, value in rows.items())


def score_name(key: str) -> str:
    """Write a score's key for a reader: ``validation_aji`` becomes ``validation AJI``."""
    return " ".join(ABBREVIATIONS.get(word, word) for word in key.split("_"))


def plain(value: str) -> str:
    """Text on one line; a vertical bar or an asterisk of the registry is no markup."""
    line = " ".join(value.split())
    return line if line.startswith("``") else line.replace("*", "\\*").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
