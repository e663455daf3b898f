"""Words to token numbers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.columns import texts
from models.errors import ArtifactError

Tokens = npt.NDArray[np.int32]

FILE = "vocabulary.json"
PADDING = 0


class Vocabulary:
    """Words to token numbers: 0 is padding, then the buckets for unknown words, then the known ones."""

    def __init__(self, words: Sequence[str], buckets: int) -> None:
        self._numbers = {word: number for number, word in enumerate(words, start=1 + buckets)}
        self._buckets = buckets
        self.size = 1 + buckets + len(self._numbers)

    def tokens(self, prefix: str, words: pa.Array, absent: int = PADDING) -> Tokens:
        """Token of each word; null becomes `absent`."""
        return by_distinct(
            words, lambda word: absent if word is None else self.token(f"{prefix}|{word}"), np.int32
        )

    def token(self, word: str) -> int:
        """Number of one word, prefix included."""
        found = self._numbers.get(word)
        return found if found is not None else 1 + zlib.crc32(word.encode()) % self._buckets


def lengths(token: Tokens) -> npt.NDArray[np.int64]:
    """Of each row of tokens (n, length): how many there are up to its last one."""
    length = token.shape[1]
    from_the_end = np.argmax(token[:, ::-1] != PADDING, axis=1)
    found: npt.NDArray[np.int64] = np.where(token.any(axis=1), length - from_the_end, 0)
    return found


def parsed(content: bytes, place: str) -> list[str]:
    """Words of a vocabulary file. Raises ArtifactError when it is not a list of distinct strings."""
    try:
        words = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{place}: not JSON: {error}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ArtifactError(f"{place}: not a list of words")
    if len(set(words)) != len(words):
        raise ArtifactError(f"{place}: it holds a word twice")
    return words


def by_distinct(
    words: pa.Array, meaning: Callable[[str | None], float], dtype: type[np.generic]
) -> npt.NDArray[Any]:
    """What each word means, asked once for each distinct one, null included.

    Raises FeatureError for what is no text.
    """
    encoded = words.dictionary_encode(null_encoding="encode")
    table = np.array([meaning(word) for word in texts(encoded.dictionary)], dtype)
    meanings: npt.NDArray[Any] = table[encoded.indices.to_numpy()]
    return meanings
