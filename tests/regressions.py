"""The defects that schedules found, put back: what is kept as a regression has to fail with its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stream.consumer import ClaimConsumer
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.records import Rows

Defect = Callable[[pytest.MonkeyPatch], None]


def letter_behind_a_pending_claim(patch: pytest.MonkeyPatch) -> None:
    """A dead letter waited for an earlier claim of its key, and gave its place in the arena away meanwhile."""
    complete = KeyOrder.complete

    def with_letters(self: KeyOrder, rows: Rows, dropped: Rows) -> Rows:
        released = complete(self, np.concatenate((rows, dropped)))
        return released[~np.isin(released, dropped)]

    patch.setattr(KeyOrder, "complete", with_letters)


def refused_commit(patch: pytest.MonkeyPatch) -> None:
    """A commit that was refused was not made again while no further claim came."""
    patch.setattr(OffsetLedger, "uncommitted", lambda *_: None)


def commit_of_nobody(patch: pytest.MonkeyPatch) -> None:
    """A member that was cast out and not told yet committed a transaction in the name of nobody."""

    def renew(self: ClaimConsumer, now: float) -> None:
        if self._commits is None and now >= self._renew_at:
            self._renew_at = now + 0.25
            self.membership = self._client.consumer_group_metadata()

    patch.setattr(ClaimConsumer, "renew", renew)


DEFECTS: dict[str, Defect] = {
    each.__name__: each for each in (letter_behind_a_pending_claim, refused_commit, commit_of_nobody)
}
