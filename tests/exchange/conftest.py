"""Exported models, each followed once: that takes up to a minute."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from pixel_embedded_affinity.exchange import ExportedModel
from pixel_embedded_affinity.segmenter import Segmenter


@pytest.fixture(scope="session")
def exported() -> Callable[[str], ExportedModel]:
    """Return a function that gives a shipped model."""

    @cache
    def export(name: str) -> ExportedModel:
        return ExportedModel(Segmenter.pretrained(name, device="cpu", precision="float32", offline=True))

    return export
