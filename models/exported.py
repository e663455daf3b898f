"""The archive of an exported program (`torch.export.save`), read by us: no member is unpickled; needs no torch.

The format is torch's: https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/pt2_archive.html.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from typing import Any

from models.errors import ArtifactError
from models.manifest import parse_json
from models.program_rules import Payload, harmless, payloads

ZIP = b"PK\x03\x04"
FORMAT = "pt2"

_DIRECTORY_LIMIT = 4 * 1024 * 1024
_JSON_LIMIT = 32 * 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_HEADER = 30
_ENCRYPTED = 1
_END, _END_BYTES = b"PK\x05\x06", 22

_PROGRAM = "models/model.json"
_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"
_WEIGHTS_CONFIG = f"{_WEIGHTS}model_weights_config.json"
_CONSTANTS_CONFIG = f"{_CONSTANTS}model_constants_config.json"
_NEEDED = {_PROGRAM, _WEIGHTS_CONFIG, _CONSTANTS_CONFIG, "archive_format"}
_TENSOR = re.compile(r"data/(?:weights/weight|constants/tensor)_[0-9]+")
# The sample inputs are a pickle that torch writes into every archive; nobody reads them here.
_IGNORED = re.compile(
    r"\.data/[a-z_]+|\.format_version|\.storage_alignment|archive_version|data/sample_inputs/model\.pt"
)
_REFUSED = {
    "data.pkl": "an archive of torch.save, which is a pickle",
    "constants.pkl": "a TorchScript archive, which holds pickles and code",
    "serialized_state_dict.pt": "an exported program of before torch 2.8, whose weights are pickles",
    f"{_WEIGHTS}model.pt": "an exported program whose weights are a pickle",
    f"{_CONSTANTS}model.pt": "an exported program whose constants are a pickle",
}


class Archive:
    """Members of a checked archive, as views of its bytes. Raises ArtifactError."""

    def __init__(self, content: memoryview, name: str) -> None:
        self.name = name
        self._members = _members(content, name)
        self._check_members()
        self.weights = self._payloads(_WEIGHTS_CONFIG, _WEIGHTS)
        self.constants = self._payloads(_CONSTANTS_CONFIG, _CONSTANTS)
        self.program = harmless(self._json(_PROGRAM), name)

    def member(self, path: str) -> memoryview:
        return self._members[path]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of weights and constants."""
        return sum(len(view) for path, view in self._members.items() if _TENSOR.fullmatch(path))

    def _check_members(self) -> None:
        for path in self._members:
            if path in _REFUSED:
                raise ArtifactError(
                    f"{self.name}: {_REFUSED[path]}; save it with torch.export.save of torch 2.9 or later"
                )
            if (
                path not in _NEEDED
                and path != "byteorder"
                and not _TENSOR.fullmatch(path)
                and not _IGNORED.fullmatch(path)
            ):
                raise ArtifactError(
                    f"{self.name}: holds {path!r}, which is no tensor, program or configuration of an export; "
                    "pickled and compiled members are never loaded"
                )
        if missing := _NEEDED - self._members.keys():
            raise ArtifactError(
                f"{self.name}: not an exported program: it lacks {', '.join(sorted(missing))}"
            )
        self._check_words("archive_format", FORMAT)
        if "byteorder" in self._members:
            self._check_words("byteorder", "little")

    def _check_words(self, path: str, wanted: str) -> None:
        if (found := bytes(self._members[path][:16])) != wanted.encode():
            raise ArtifactError(f"{self.name}: {path} is {found!r}; {wanted!r} is wanted")

    def _payloads(self, config: str, folder: str) -> dict[str, Payload]:
        sizes = {path: len(view) for path, view in self._members.items()}
        return payloads(self._json(config), folder, sizes, f"{self.name}: {config}")

    def _json(self, path: str) -> Any:
        content = self._members[path]
        if len(content) > _JSON_LIMIT:
            raise ArtifactError(
                f"{self.name}: {path} has {len(content)} bytes; at most {_JSON_LIMIT} are read"
            )
        try:
            return parse_json(bytes(content))
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.name}: {path} is not JSON: {error}") from error


def _members(content: memoryview, name: str) -> dict[str, memoryview]:
    """Path under the archive's one folder to its bytes, which nothing compresses, encrypts or shares."""
    if content[: len(ZIP)] != ZIP:
        raise ArtifactError(f"{name}: not an archive, and so no exported program; pickles are never loaded")
    # Further back there may be another archive's end: that of a member, or of what was put before this one.
    if content[-_END_BYTES:][: len(_END)] != _END:
        raise ArtifactError(
            f"{name}: a damaged archive: it does not end as one does; it is truncated or padded"
        )
    try:
        with zipfile.ZipFile(io.BufferedReader(_View(content))) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise ArtifactError(f"{name}: a damaged archive: {error}") from error
    members: dict[str, memoryview] = {}
    position = 0
    for info in sorted(found, key=lambda info: info.header_offset):
        start = _start(content, info, name)
        if info.header_offset < position or start + info.file_size > len(content):
            raise ArtifactError(f"{name}: its members overlap or leave the file, at {info.filename!r}")
        position = start + info.file_size
        path = _path(info.filename, name)
        if path in members:
            raise ArtifactError(f"{name}: it holds {path!r} twice")
        members[path] = content[start:position]
    return members


def _start(content: memoryview, info: zipfile.ZipInfo, name: str) -> int:
    """Where a member's bytes begin. Its own header has to agree with the archive's."""
    if (
        info.compress_type != zipfile.ZIP_STORED
        or info.flag_bits & _ENCRYPTED
        or info.file_size != info.compress_size
    ):
        raise ArtifactError(
            f"{name}: {info.filename!r} is compressed or encrypted; torch stores members as they are"
        )
    header = content[info.header_offset : info.header_offset + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or header[: len(ZIP)] != ZIP:
        raise ArtifactError(f"{name}: {info.filename!r} is not where the archive says")
    name_length, extra_length = (int(length) for length in _LOCAL.unpack(header)[-2:])
    start = info.header_offset + _LOCAL_HEADER + name_length
    if bytes(content[start - name_length : start]) != info.filename.encode():
        raise ArtifactError(f"{name}: {info.filename!r} has another name in its own header")
    return start + extra_length


def _path(filename: str, name: str) -> str:
    folder, _, path = filename.partition("/")
    if (
        not folder
        or not path
        or ".." in filename.split("/")
        or not filename.isprintable()
        or "\\" in filename
    ):
        raise ArtifactError(f"{name}: a member is called {filename!r}, which is no plain path in one folder")
    return path


class _View(io.RawIOBase):
    """Bytes as a file that is read in small pieces: a directory that claims more is refused, not read."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        if base + offset < 0:
            raise OSError("its directory lies before its beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._content[self._position : self._position + len(buffer)]
        if len(buffer) > _DIRECTORY_LIMIT:
            raise OSError(f"its directory claims {len(buffer)} bytes; at most {_DIRECTORY_LIMIT} are read")
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)
