"""A compiled network trains as any other, and its files do not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.training.run.compiling import compiler_explained
from pixel_embedded_affinity.training.run.loop import MODEL_FILE, STATE_FILE, Trainer
from pixel_embedded_affinity.training.run.train import train


def trained(recipe: Any, examples: Any, output: Path, *, until: int | None = None, compiled: bool) -> Trainer:
    trainer = Trainer(recipe, examples, output, device="cpu", compiled=compiled)
    if (output / STATE_FILE).exists():
        trainer.resume()
    for result in trainer.steps():
        if result.step == until:
            break
    return trainer


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each call of what torch was asked to compile. It runs as it is: compiling takes torch minutes."""
    found: list[Any] = []

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            found.append(arguments[0].shape)
            return function(*arguments, **options)

        return counted

    monkeypatch.setattr(torch, "compile", compiled)
    return found


def test_a_compiled_run_goes_on_without_compiling_and_its_files_are_the_same(
    recipe: Any, examples: Any, tmp_path: Path, calls: list[Any]
) -> None:
    trained(recipe, examples, tmp_path / "plain", compiled=False)
    assert not calls
    trained(recipe, examples, tmp_path / "changing", until=4, compiled=True)
    assert len(calls) == 4
    trained(recipe, examples, tmp_path / "changing", compiled=False)
    assert len(calls) == 4
    plain, changing = (read_checkpoint(tmp_path / run / STATE_FILE).tensors for run in ("plain", "changing"))
    assert sorted(plain) == sorted(changing)
    assert all(torch.equal(value, changing[name]) for name, value in plain.items())
    models = [read_checkpoint(tmp_path / run / MODEL_FILE).tensors for run in ("plain", "changing")]
    assert sorted(models[0]) == sorted(models[1])


def test_train_compiles_if_asked_and_validates(
    recipe: Any, data: Path, tmp_path: Path, calls: list[Any]
) -> None:
    short = recipe.scheduled(steps=2)
    train(short, data, tmp_path / "run", device="cpu", compiled=True)
    assert len(calls) == 2  # validations have a network of their own, whose images differ in size
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_a_machine_that_cannot_compile_is_told_what_to_do(
    recipe: Any, examples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    def failing(*_: Any, **__: Any) -> Any:
        raise InternalTorchDynamoError("no working\ncompiler")

    monkeypatch.setattr(torch, "compile", lambda _: failing)
    with pytest.raises(PixelEmbeddedAffinityError, match=r"no working compiler.*no --compile") as raised:
        trained(recipe, examples, tmp_path / "run", compiled=True)
    assert "\n" not in str(raised.value)
    assert trained(recipe, examples, tmp_path / "run", compiled=False).finished


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^of something else$"), compiler_explained():
        raise RuntimeError("of something else")
