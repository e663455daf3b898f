"""Who gets which partition: cooperative-sticky, pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream.embedded.simulated.message import Place


def balanced(
    partitions: Sequence[Place], owned: Mapping[str, frozenset[Place]]
) -> dict[str, frozenset[Place]]:
    """Where the partitions are to be in the end: even, and moving as few as possible. `owned` names every member."""
    members = sorted(owned, key=lambda member: (-len(owned[member]), member))
    least, extra = divmod(len(partitions), len(members))
    target: dict[str, list[Place]] = {}
    taken: set[Place] = set()
    for place, member in enumerate(members):
        quota = least + (place < extra)
        kept = [each for each in partitions if each in owned[member] and each not in taken][:quota]
        target[member] = kept
        taken.update(kept)
    homeless = [each for each in partitions if each not in taken]
    for place, member in enumerate(members):
        while homeless and len(target[member]) < least + (place < extra):
            target[member].append(homeless.pop(0))
    return {member: frozenset(each) for member, each in target.items()}


def cooperative(
    target: Mapping[str, frozenset[Place]], owned: Mapping[str, frozenset[Place]]
) -> dict[str, frozenset[Place]]:
    """What each member gets now: a partition is given to its new owner only once its old one has let it go."""
    holder = {place: member for member, places in owned.items() for place in places}
    return {
        member: frozenset(place for place in places if holder.get(place, member) == member)
        for member, places in target.items()
    }
