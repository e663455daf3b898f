"""Disks that are full, a registry that is down, a model that takes long to load."""

from __future__ import annotations
