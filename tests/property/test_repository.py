"""Any sequence of changes leaves a repository whose names mean versions that are there; no header does harm."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from models import artifact, tensor_header
from models.aliases import WHOLE, Aliases, divided, promoted, rolled_back
from models.errors import ArtifactError, PublishError, UnknownModelError
from models.housekeeping import Housekeeping
from models.manifest import FILE, FileEntry, Manifest, encoded
from models.publishing import push
from models.repository import SHIPPED, Repository, Target

VERSIONS = ["0.9.0", "1.0.0", "1.0.10", "1.2.0", "10.0.0"]
ALIASES = ["production", "staging"]

version = st.sampled_from(VERSIONS)
alias = st.sampled_from(ALIASES)


def tiny(folder: Path) -> Path:
    """A version of a few bytes."""
    import hashlib

    from blake3 import blake3

    content = b'\x36\0\0\0\0\0\0\0{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.ljust(62)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    digest = blake3(content).hexdigest()
    entry = FileEntry(
        bytes=len(content), blake3=digest, sha256=hashlib.sha256(content).hexdigest(), chunks=(digest,)
    )
    shipped = json.loads((SHIPPED / "claims_filter" / "2.1.0" / FILE).read_text())
    manifest = Manifest.model_validate(shipped | {"name": "tiny", "files": {"model.safetensors": entry}})
    (folder / FILE).write_bytes(encoded(manifest))
    return folder


class RepositoryMachine(RuleBasedStateMachine):
    """Pushes, promotions, rollbacks and removals against what should have come of them."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.source = tiny(self.folder / "source")
        self.repository = Repository(self.folder / "repository", self.folder / "nothing")
        (self.folder / "repository").mkdir()
        self.keeper = Housekeeping(self.repository, lambda: 1e9, lambda: 0.0)
        self.there: set[str] = set()
        self.meanings: dict[str, list[Target]] = {name: [] for name in ALIASES}

    @rule(version=version)
    def push(self, version: str) -> None:
        push(self.repository, self.source, version=version)
        self.there.add(version)

    @rule(version=version, alias=alias, weight=st.sampled_from([1, 10, 50, 99, WHOLE]))
    def promote(self, version: str, alias: str, weight: int) -> None:
        try:
            target = self.keeper.promote("tiny", version, alias, weight)
        except UnknownModelError:
            assert version not in self.there or not self._meant_is_there(alias)
        except PublishError:
            assert weight < WHOLE
        else:
            assert any(share.version == version and share.weight == weight for share in target.shares)
            self.meanings[alias].append(target)

    @rule(alias=alias)
    def rollback(self, alias: str) -> None:
        try:
            target = self.keeper.rollback("tiny", alias)
        except (PublishError, UnknownModelError):
            earlier = self.meanings[alias][-2:-1]
            assert not earlier or not {share.version for share in earlier[0].shares} <= self.there
        else:
            self.meanings[alias].pop()
            assert target == self.meanings[alias][-1]

    @rule(version=version)
    def remove(self, version: str) -> None:
        named = any(
            share.version == version for m in self.meanings.values() for share in (m[-1].shares if m else ())
        )
        try:
            self.keeper.remove("tiny", version)
        except (PublishError, UnknownModelError):
            assert named or version not in self.there
        else:
            assert not named
            self.there.discard(version)

    @rule()
    def collect(self) -> None:
        self.keeper.collect(1e6)

    @invariant()
    def names_mean_what_is_there(self) -> None:
        if not hasattr(self, "repository"):
            return
        assert set(self.repository.versions("tiny")) == self.there
        for alias, meanings in self.meanings.items():
            if meanings:
                target = self.repository.resolve(f"tiny:{alias}")
                assert target == meanings[-1]
                assert {share.version for share in target.shares} <= self.there
                assert sum(share.weight for share in target.shares) == WHOLE
        if self.there:
            assert self.repository.resolve("tiny").shares[0].version == max(self.there, key=VERSIONS.index)

    def _meant_is_there(self, alias: str) -> bool:
        meanings = self.meanings[alias]
        return not meanings or {share.version for share in meanings[-1].shares} <= self.there

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestRepository = RepositoryMachine.TestCase
TestRepository.settings = settings(max_examples=25, stateful_step_count=20)


@given(st.dictionaries(version, st.integers(1, 100), min_size=1), st.integers(0, 99))
def test_a_division_is_whole_and_near_the_proportion(parts: dict[str, int], total: int) -> None:
    shares = divided(parts, total)
    assert sum(shares.values()) == total
    for key, part in parts.items():
        assert abs(shares[key] - total * part / sum(parts.values())) < 1


@given(st.lists(st.tuples(version, st.integers(1, WHOLE)), max_size=12))
def test_shares_add_up_and_a_rollback_restores(promotions: list[tuple[str, int]]) -> None:
    aliases = Aliases()
    for chosen, weight in promotions:
        before = aliases
        try:
            aliases = promoted(aliases, "production", chosen, weight, "now")
        except PublishError:
            continue
        state = aliases.aliases["production"].now
        assert sum(state.shares.values()) == WHOLE
        assert state.shares[chosen] == weight
        if before.aliases:
            assert (
                rolled_back(aliases, "production").aliases["production"].now
                == before.aliases["production"].now
            )


def checked(content: bytes) -> None:
    try:
        tensors = artifact.tensors(memoryview(bytearray(content)), "x")
    except ArtifactError:
        return
    assert sum(map(torch.numel, tensors.values())) <= len(content)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_do_nothing_else(content: bytes) -> None:
    checked(content)
    for kind in ("pt2", "json"):
        with pytest.raises(ArtifactError):
            artifact.check(memoryview(b"PK\x03\x04" + content), "x", kind)  # type: ignore[arg-type]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
numbers = st.integers(-(2**70), 2**70) | st.integers(0, 16)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*tensor_header.ITEM_BYTES, "F4", ""]) | json_values,
        "shape": st.lists(numbers, max_size=3) | json_values,
        "data_offsets": st.lists(numbers, min_size=2, max_size=2) | json_values,
    }
)


@given(st.dictionaries(st.text(max_size=4), entries | json_values, max_size=4), st.binary(max_size=64))
def test_a_header_of_anything_is_read_or_refused(header: dict[str, object], body: bytes) -> None:
    text = json.dumps(header).encode()
    checked(len(text).to_bytes(8, "little") + text + body)


@given(st.data())
def test_a_bit_flip_in_a_good_file_is_read_or_refused(data: st.DataObject) -> None:
    first = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": first, "b": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]}}).encode()
    content = bytearray(len(header).to_bytes(8, "little") + header + bytes(11))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    checked(bytes(content))
