"""Check what a wheel carries: all files of the package, and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "pixel_embedded_affinity"
LARGEST = 40 * 2**20


def main() -> None:
    """Compare the wheel that is the only argument with the folder of the package."""
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(PACKAGE.parent).as_posix() for path in files}
    if carried != expected:
        raise SystemExit(
            f"{wheel.name} lacks {sorted(expected - carried)}; not expected {sorted(carried - expected)}"
        )
    if wheel.stat().st_size > LARGEST:
        raise SystemExit(f"{wheel.name} has {wheel.stat().st_size} bytes; expected at most {LARGEST}")


if __name__ == "__main__":
    main()
