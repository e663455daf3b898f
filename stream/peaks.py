"""When load peaks come, by cron expressions: models are made ready some time before each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cronsim import CronSim

LEAD_SECONDS = 900.0


def peak_ahead(expressions: Sequence[str], wall: float, lead: float = LEAD_SECONDS) -> float | None:
    """The next peak that is at most `lead` seconds away, in seconds since the epoch; None while there is none.

    Expressions are in local time; a minute that the clocks skip in spring counts at the next one that exists.
    """
    # Seen from the second before, a peak that is just now counts still.
    moment = datetime.fromtimestamp(wall).astimezone() - timedelta(seconds=1)
    peaks = [next(CronSim(expression, moment)).timestamp() for expression in expressions]
    return min((peak for peak in peaks if peak - wall <= lead), default=None)
