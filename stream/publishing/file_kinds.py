"""What kind of file holds the claims: told by its first bytes, and by its name where those do not say."""

from __future__ import annotations

import difflib
import gzip
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, cast

from stream.errors import UsageError

GZIP_MAGIC = b"\x1f\x8b"
AVRO_MAGIC = b"Obj\x01"
PARQUET_MAGIC = b"PAR1"
GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


class Kind(Enum):
    """Values are the words of messages."""

    CSV = "CSV"
    JSON_LINES = "JSON lines"
    AVRO = "Avro"
    PARQUET = "Parquet"


_MAGIC = {AVRO_MAGIC: Kind.AVRO, PARQUET_MAGIC: Kind.PARQUET}
_NAMED = {
    ".csv": Kind.CSV,
    ".tsv": Kind.CSV,
    ".txt": Kind.CSV,
    ".jsonl": Kind.JSON_LINES,
    ".ndjson": Kind.JSON_LINES,
    ".json": Kind.JSON_LINES,
    ".avro": Kind.AVRO,
    ".parquet": Kind.PARQUET,
}
SUFFIXES = tuple(_NAMED)


def kind_of(path: Path) -> Kind:
    """Raises UsageError for what is no readable, non-empty file, or is not what its name says."""
    check_file(path)
    with open_bytes(path) as file:
        start = file.read(64)
    packed = is_gzip(path)
    found = _MAGIC.get(start[:4])
    if found is not None:
        if packed:
            raise UsageError(f"{path} is {found.value} inside gzip: unpack it first")
        return found
    named = _NAMED.get(_suffix(path))
    if named in (Kind.AVRO, Kind.PARQUET):
        raise UsageError(f"{path} is no {named.value} file, whatever its name says: it begins otherwise")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if named is not Kind.CSV and text.startswith(b"["):
        raise UsageError(f"{path} is one JSON array: write one object a line, e.g. with jq -c '.[]'")
    return named or (Kind.JSON_LINES if text.startswith(b"{") else Kind.CSV)


def check_file(path: Path) -> None:
    """Raises UsageError for what is no readable, non-empty file, or is not gzip though its name says so."""
    mode = mode_of(path)
    if mode is None:
        raise UsageError(f"no file {path}{_nearest_file(path)}")
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a directory: name a CSV file in it, or one of another kind")
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{path} is no regular file, which is read more than once: write what it gives to one"
        )
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise UsageError(f"{path} is empty: it needs a header row, if it is CSV, and at least one claim")
    if path.suffix == ".gz" and start != GZIP_MAGIC:
        raise UsageError(
            f"{path} is not a gzip file: unpack or rename it to end in {_suffix(path) or '.csv'}"
        )


def mode_of(path: Path) -> int | None:
    """Of what is there; None where nothing is. Raises UsageError where that cannot be found out."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is gzip. Raises UsageError when they cannot be unpacked to the end."""
    try:
        with path.open("rb") as file:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzip(path) else file
    except GZIP_ERRORS as error:
        raise UsageError(f"{path} is damaged: its gzip data cannot be read to the end ({error})") from error


def _suffix(path: Path) -> str:
    """The ending that tells the kind: `.csv` of claims.csv.gz."""
    return Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.name, names, n=1)
    return f": did you mean {path.with_name(nearest[0])}?" if nearest else ""
