"""Configuration: settings, their origin, and the defaults that ship."""
