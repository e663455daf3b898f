"""The folder of a version, as it is before a push: files, and a manifest that says what they are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.digests import chunks_of, digest_chunks
from models.manifest import FILE, FileEntry, Manifest, MeasuredBytes, Variant, checked, encoded


def described(
    draft: Mapping[str, Any], files: Mapping[str, bytes], variant: Variant, device: int, folder: Path
) -> Manifest:
    """The manifest of these files, of one precision; `device` is the bytes of its tensors.

    `draft` has what the files do not say. Raises ManifestError that names the key, in the manifest of `folder`.
    """
    entries = {
        name: FileEntry(**asdict(digest_chunks(chunks_of(io.BytesIO(content), lambda _: None))))
        for name, content in files.items()
    }
    size = sum(entry.bytes for entry in entries.values())
    measured = MeasuredBytes(device=device, memory=size, redis=size, repository=size)
    return checked(
        {**draft, "precisions": {"fp32": variant}, "bytes": measured, "files": entries}, folder / FILE
    )


def write(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> None:
    """The files, the manifest last. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / FILE).write_bytes(encoded(manifest))
