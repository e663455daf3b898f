"""The topics' partitions and limits as each worker that starts should know them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from stream.errors import ClaimstreamError
from stream.options import TopicShape

log = logging.getLogger(__name__)

# The supervisor does nothing else meanwhile.
_PATIENCE = 2.0


class LatestShape:
    """A worker that ended may have ended because they changed; its successor would end like it with those of before.

    `look` describes the topics; however long that takes, only `patience` seconds are waited for it.
    """

    def __init__(
        self, shape: TopicShape, look: Callable[[], TopicShape], patience: float = _PATIENCE
    ) -> None:
        self._shape = shape
        self._look = look
        self._patience = patience
        self._looking: threading.Thread | None = None
        self._begun: set[int] = set()

    def of(self, slot: int) -> TopicShape:
        """For the next worker of a place; the first one there knows what was known at the start."""
        if slot in self._begun:
            self._look_again()
        self._begun.add(slot)
        return self._shape

    def _look_again(self) -> None:
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._see, name="topics", daemon=True)
            self._looking.start()
        self._looking.join(self._patience)
        if self._looking.is_alive():
            log.warning("the topics are not described yet; a worker starts with what was known of them")

    def _see(self) -> None:
        try:
            shape = self._look()
        except Exception as error:
            defect = not isinstance(error, ClaimstreamError)
            log.warning(
                "the topics cannot be described now, a worker starts with what was known of them: %s",
                error,
                exc_info=defect,
            )
            return
        if shape != self._shape:
            log.warning("the topics changed: they were %s and are %s", self._shape, shape)
        self._shape = shape
