"""Configuration: settings, their origins, and the defaults that ship."""

from config.errors import ConfigurationError
from config.loading import load_settings
from config.origins import Origin
from config.settings import Settings, values

__all__ = ["ConfigurationError", "Origin", "Settings", "load_settings", "values"]
