"""What the shipped settings do with fields that hold no nuclei, and with debris among nuclei."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import aggregated_jaccard_index
from pixel_embedded_affinity.samples import nuclei


@pytest.fixture(scope="module")
def fast() -> Segmenter:
    return Segmenter.pretrained("bbbc039-fast", device="cpu", offline=True)


def background(counts: float, blur: float, shape: tuple[int, int] = (256, 256)) -> Any:
    """A field without nuclei whose background varies."""
    noise = np.random.default_rng(0).normal(0, 1, shape)
    noise = ndimage.gaussian_filter(noise, blur) if blur else noise
    return (200 + noise / noise.std() * counts).round().astype(np.uint16)


@pytest.mark.parametrize("model", ["bbbc039", "bbbc039-fast"])
@pytest.mark.parametrize(("counts", "blur"), [(1, 0), (1, 1.5), (3, 3), (8, 2), (8, 5)])
def test_a_blurred_field_without_nuclei_has_about_no_objects(
    model: str, caplog: pytest.LogCaptureFixture, counts: float, blur: float
) -> None:
    field, segmenter = background(counts, blur), Segmenter.pretrained(model, device="cpu", offline=True)
    assert segmenter.segment(field).max() <= 5
    without = segmenter.with_settings(**{"postprocess.noise_floor": 0.0, "postprocess.min_confidence": 0.0})
    found = without.segment(field).max()
    assert found == 0 if blur == 0 else found > 20
    assert ("as in noise" in caplog.text) is (blur > 0)


def test_a_floor_on_the_contrast_leaves_such_a_field_dark(fast: Segmenter) -> None:
    flat = fast.with_settings(**{"contrast.min_contrast": 400.0, "postprocess.noise_floor": 0.0})
    assert flat.segment(background(8, 3)).max() <= 5


@pytest.mark.parametrize("brightness", [6000, 65535])
def test_nuclei_stay_beside_bright_debris(
    fast: Segmenter, caplog: pytest.LogCaptureFixture, brightness: int
) -> None:
    image = nuclei().image[:256, :384]
    dirty = image.copy()
    dirty[100:125, 300:325] = brightness
    away = np.ones(image.shape, bool)
    away[80:145, 280:345] = False
    before, after = (len(np.unique(fast.segment(values)[away])) - 1 for values in (image, dirty))
    assert after >= 0.9 * before
    assert "do not set the contrast" in caplog.text
    plain = fast.with_settings(**{"contrast.outlier_factor": 0.0}).segment(dirty)
    assert brightness < 65535 or len(np.unique(plain[away])) - 1 < 0.5 * before


@pytest.mark.parametrize("model", ["bbbc039", "bbbc039-fast", "nuclei"])
def test_nuclei_stay_beside_a_missing_tile(model: str, caplog: pytest.LogCaptureFixture) -> None:
    segmenter = Segmenter.pretrained(model, device="cpu", offline=True).with_settings(scale=1.0)
    image = nuclei().image[:256, :384] + np.uint16(3000)
    lacking = image.copy()
    lacking[:, :128] = 0
    away = np.zeros(image.shape, bool)
    away[:, 160:] = True
    before, after = (segmenter.segment(values) * away for values in (image, lacking))
    assert aggregated_jaccard_index(before, after) > 0.95
    assert "are missing: they hold 0" in caplog.text
    plain = segmenter.with_settings(**{"contrast.skip_missing": False}).segment(lacking) * away
    assert aggregated_jaccard_index(before, plain) < aggregated_jaccard_index(before, after)
