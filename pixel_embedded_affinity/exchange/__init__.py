"""Models in formats of other programs: ONNX, torch.export, a package of bioimage.io."""

from pixel_embedded_affinity.exchange.model import ExportedModel

__all__ = ["ExportedModel"]
