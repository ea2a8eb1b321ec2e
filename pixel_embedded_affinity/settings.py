"""Where files of settings were read; they are in `pixel_embedded_affinity.config.settings`."""

from pixel_embedded_affinity.config.settings import read_settings as read_settings
from pixel_embedded_affinity.config.settings import write_settings as write_settings
