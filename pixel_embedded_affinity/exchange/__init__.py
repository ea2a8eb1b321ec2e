"""Models in formats of other programs: ONNX, torch.export, a package of bioimage.io."""

from pixel_embedded_affinity.runtime.device import require_torch

require_torch("Exporting a model")

from pixel_embedded_affinity.exchange.model import ExportedModel  # noqa: E402

__all__ = ["ExportedModel"]
