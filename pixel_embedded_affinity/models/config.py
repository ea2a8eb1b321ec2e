"""The old import path of `pixel_embedded_affinity.config.model`."""

from pixel_embedded_affinity.config.model import ModelConfig as ModelConfig
from pixel_embedded_affinity.config.model import NetworkConfig as NetworkConfig
