"""Print what pip is told about indexes as variables of uv, which reads none of pip's settings.

Lines of ``export NAME=VALUE``, for ``eval`` in a shell.
"""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys

NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def main() -> None:
    """Read the settings of pip, of which those of the environment come last and win."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if setting in NAMES:
            separator = "," if setting == "find-links" else " "
            found[NAMES[setting]] = separator.join(ast.literal_eval(value).split())
    # pip takes the best release of all indexes, not that of the first that has the package.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    sys.stdout.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
