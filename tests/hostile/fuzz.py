"""Coverage-guided fuzzing of what reads files: whatever bytes come in, content or an error of the library comes out.

``pip install atheris``, then ``python tests/hostile/fuzz.py checkpoint --seconds 600``. It starts from valid files of
the kind, and from what an earlier run left in the folder given as ``--corpus``. The first input that gives anything
else is kept as ``crash-*`` and ends the run; ``--input FILE`` repeats it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pixel_embedded_affinity", "safetensors"]):
    from pixel_embedded_affinity.config.model import ModelConfig
    from pixel_embedded_affinity.config.settings import read_settings
    from pixel_embedded_affinity.models import registry
    from pixel_embedded_affinity.models.checkpoint import read_checkpoint
    from pixel_embedded_affinity.training.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))
from long_run import Bug, PixelEmbeddedAffinityError, trial_in  # type: ignore[import-not-found]

RECIPES = Path(registry.REGISTRY_PATH).parents[1] / "training" / "recipes"
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoint": (".safetensors", read_checkpoint),
    "configuration": (
        ".json",
        lambda path: ModelConfig.from_json(path.read_bytes().decode("utf-8", "replace")),
    ),
    "settings": (".json", read_settings),
    "registry": (".toml", registry.read_registry),
    "recipe": (".toml", Recipe.from_file),
}


def seeds(kind: str, folder: Path) -> list[bytes]:
    """Valid files of a kind."""
    trial = trial_in(folder)
    config = trial.segmenter.config
    trial.segmenter.save_settings(folder / "settings.json")
    return {
        "checkpoint": [trial.checkpoint],
        "configuration": [config.to_json().encode()],
        "settings": [
            (folder / "settings.json").read_bytes(),
            b'{"neighborhood": {"ranges": [1, 3], "strides": 2}}',
        ],
        "registry": [registry.REGISTRY_PATH.read_bytes()],
        "recipe": [path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))],
    }[kind]


def target(kind: str, folder: Path) -> Callable[[bytes], None]:
    """What atheris calls with each input."""
    suffix, read = READERS[kind]
    path = folder / f"input{suffix}"

    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except PixelEmbeddedAffinityError as error:
            text = str(error)
            if not text or len(text.splitlines()) != 1 or not text.isprintable():
                raise Bug(f"the message is not one line of readable text: {text[:300]!r}") from error

    return attempt


def fuzz(kind: str, corpus: Path, options: Sequence[str], folder: Path) -> None:
    """Run until the time is up or something is found."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(kind, folder)):
        (corpus / f"seed_{number}").write_bytes(content)
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], str(corpus), *options], target(kind, folder))
    atheris.Fuzz()


def main() -> None:
    """Parse the arguments and fuzz."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=list(READERS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="folder of inputs, which the run adds to")
    parser.add_argument("--input", type=Path, help="try this file only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.input is not None:
            target(arguments.kind, folder)(arguments.input.read_bytes())
            return
        limits = [
            f"-max_total_time={arguments.seconds}",
            "-timeout=10",
            "-rss_limit_mb=3000",
            "-max_len=65536",
        ]
        fuzz(arguments.kind, arguments.corpus or folder / "corpus", limits, folder)


if __name__ == "__main__":
    main()
