"""Write the dependencies of setup.cfg as requirement files, which deptry reads: the hard ones, and the extras."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write ``hard.txt`` and ``extras.txt`` into the folder that is the only argument."""
    folder = Path(sys.argv[1])
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    extras = "\n".join(parser["options.extras_require"].values())
    (folder / "hard.txt").write_text(parser["options"]["install_requires"].strip() + "\n", encoding="utf-8")
    (folder / "extras.txt").write_text(extras.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
