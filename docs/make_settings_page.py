"""Write docs/reference/settings.rst, from the declarations of the installed library.

Run it from any folder, whenever a setting has changed::

    python docs/make_settings_page.py            # write the page
    python docs/make_settings_page.py --check    # only tell, by the exit code, whether the page is up to date
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.clustering import get_clusterer, list_clusterers
from pixel_embedded_affinity.config.model import inference_leaves
from pixel_embedded_affinity.fields import Leaf, Settings, leaves

PAGE = Path(__file__).resolve().parent / "reference" / "settings.rst"
HEAD = """Settings
========

.. This page is written by docs/make_settings_page.py, from the declarations in the code.

Settings say how a model sees an image, and what it does after its network. Use the keys in a settings file (as tables
within tables), in `Segmenter.with_settings <pixel_embedded_affinity.Segmenter.with_settings>`, such as
``segmenter.with_settings(**{"postprocess.min_size": 30})``, and in the ``values`` of a
`Search <pixel_embedded_affinity.tune.Search>`. Use the flags with ``pea segment``, ``pea evaluate``, ``pea tune``,
``pea finetune``, ``pea adapt`` and ``pea compare``; write lists with commas. A default holds for every model whose file
has no other value.

Distances and sizes are in positions of the embedding. A network at full resolution has one for each pixel of the
image that it sees, ``half_unet`` and ``sections_unet`` one for every second pixel along y and x. With a scale of 0.5,
it sees half as many pixels along each axis. So with ``nuclei`` at scale 0.5, ``min_size`` 10 removes objects of fewer
than 160 pixels of the image. To choose objects by their size in the image, use the column ``area`` of the table.

"""
CLUSTERERS = """
Settings of the clusterers
--------------------------

They are the keys of ``clusterer_settings``, such as ``clusterer_settings.repulsion``.
"""


def main() -> int:
    """Update or check the page; return the exit code."""
    text = page()
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
    if "--check" in sys.argv[1:]:
        print("settings.rst is up to date" if current else "settings.rst differs: run this without --check")
        return int(not current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD, table(inference_leaves(), flags=True), CLUSTERERS]
    for name in list_clusterers():
        kind = type(get_clusterer(name))
        if issubclass(kind, Settings) and kind.__module__.startswith("pixel_embedded_affinity."):
            parts.append(f"\n``{name}``\n{'~' * (len(name) + 4)}\n\n{table(leaves(kind), flags=False)}")
    return "".join(parts)


def table(settings: Iterable[Leaf], *, flags: bool) -> str:
    """Return settings as a list-table."""
    headings = ["key and flag" if flags else "key", "what", "default", "values that tune tries"]
    rows = [headings, *(cells(leaf, flags) for leaf in settings)]
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 24 46 12 18", ""]
    for row in rows:
        lines += [f"   {'* -' if number == 0 else '  -'} {cell}".rstrip() for number, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def cells(leaf: Leaf, flags: bool) -> list[str]:
    """Return the entries of a setting's row."""
    declared = leaf.declared
    negative = f", ``--no-{leaf.flag[2:]}``" if isinstance(leaf.default, bool) else ""
    return [
        f"``{leaf.key}``" + (f" ``{leaf.flag}``{negative}" if flags else ""),
        f"{declared.help} Must be {declared.check.what}.",
        "" if leaf.default is MISSING else f"``{shown(leaf.default)}``",
        ", ".join(f"``{shown(value)}``" for value in declared.tries),
    ]


def shown(value: Any) -> str:
    """Return a value as JSON shows it, but for text, which needs no quotes."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    return {"True": "true", "False": "false", "None": "none"}.get(str(value), str(value))


if __name__ == "__main__":
    sys.exit(main())
