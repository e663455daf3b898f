"""Words to token numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]

PADDING = 0


class Vocabulary:
    """Words to token numbers: 0 is padding, then the buckets for unknown words, then the known ones."""

    def __init__(self, words: Sequence[str], buckets: int) -> None:
        self._numbers = {word: number for number, word in enumerate(words, start=1 + buckets)}
        self._buckets = buckets
        self.size = 1 + buckets + len(self._numbers)

    def tokens(self, prefix: str, words: pa.Array) -> Integers:
        """Token of each word; null becomes padding."""
        encoded = words.dictionary_encode()
        distinct = [self.token(f"{prefix}|{word}") for word in encoded.dictionary.to_pylist()]
        table = np.array([*distinct, PADDING], np.int64)
        return table[indices(encoded)]

    def token(self, word: str) -> int:
        """Number of one word, prefix included."""
        found = self._numbers.get(word)
        return found if found is not None else 1 + zlib.crc32(word.encode()) % self._buckets


def indices(encoded: pa.DictionaryArray) -> Integers:
    """Dictionary indices, -1 for null, so that the table's last entry answers it."""
    indices = encoded.indices
    filled = indices.fill_null(-1) if indices.null_count else indices
    numbers: Integers = filled.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
