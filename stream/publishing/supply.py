"""Where the claims of one publish run come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from stream.errors import UsageError
from stream.publishing.claim_files import open_claims
from stream.publishing.claim_source import NOTHING, ClaimSource, Counts
from stream.publishing.generator import generate
from stream.publishing.mapping import load_mapping
from stream.publishing.publisher import Batch, WrittenClaims
from stream.publishing.rejects import Reject, RejectsFile


class Supply:
    """Claims to publish. `counts` and the first `rejects` are complete once a pass over `batches` was."""

    def __init__(
        self, expected: int, claims: Callable[[], Iterable[Batch]], counts: Counts = NOTHING
    ) -> None:
        self.expected = expected
        self.counts = counts
        self.rejects: list[Reject] = []
        self.ignored: tuple[str, ...] = ()
        self._claims = claims

    def batches(self) -> Iterable[Batch]:
        """A fresh pass over the claims."""
        return self._claims()


class FileSupply(Supply):
    """Claims of a file; the first pass counts them and writes down what is rejected.

    That pass raises UsageError at its end where no row made a claim.
    """

    def __init__(self, path: Path, source: ClaimSource, rejects: RejectsFile | None) -> None:
        super().__init__(source.expected, self._pass)
        self.ignored = source.ignored
        self._path = path
        self._source = source
        self._file = rejects
        self._first = True

    def _pass(self) -> Iterator[Batch]:
        counting, self._first = self._first, False
        for read in self._source.batches():
            if counting:
                self.counts = self.counts.with_rows(read)
                self._note(read.rejects)
            if read.written is not None:
                yield WrittenClaims(read.claims, read.written)
            elif read.claims.num_rows:
                yield read.claims
        if counting and not self.counts.claims:
            raise UsageError(nothing_made(self._path, self.counts, self.rejects))

    def _note(self, rejects: tuple[Reject, ...]) -> None:
        self.rejects += rejects[: max(SHOWN_REJECTS - len(self.rejects), 0)]
        if self._file is not None:
            self._file.add(rejects)


SHOWN_REJECTS = 3


def from_generator(count: int, seed: int) -> Supply:
    counts = Counts(rows=count, claims=count, rejected=0, merged=0)
    return Supply(count, lambda: generate(count, seed), counts)


def from_file(path: Path, mapping_name: str | None = None, rejects: Path | None = None) -> Supply:
    """Opens the file, whatever its kind; without a mapping it must hold claims as they are.

    Rejected rows go to the file `rejects`. Raises UsageError for a file or mapping that does not fit, or when it is
    known already that no row of the file makes a claim.
    """
    source = open_claims(path, None if mapping_name is None else load_mapping(mapping_name))
    supply = FileSupply(path, source, None if rejects is None else RejectsFile(rejects))
    if not source.expected:
        # The pass says so itself.
        for _ in supply.batches():
            pass
    return supply


def nothing_made(path: Path, counts: Counts, rejects: Sequence[Reject]) -> str:
    """Of a file of which no claim came: that, and the first reason."""
    if not rejects:
        return f"{path} holds no claims"
    first = rejects[0]
    return (
        f"no row of {path} makes a claim: all {counts.rejected} are rejected,"
        f" the first (row {first.row}) because: {first.reason}. Check the mapping."
    )
