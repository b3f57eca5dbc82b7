"""What making a block of rows took and showed, kept in the block's shard: it outlives a killed session as the rows do.

A header's cost and notes are the sums over its shards, with what belongs to no shard (controls, earlier formats).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan

from pydantic import ConfigDict

from advassay.attack_spec import Frozen
from advassay.documents import ComputeShape
from advassay.trajectory import Cost


class Account(Frozen):
    """Of one shard. Numbers that are none (NaN, infinite) are written as texts, which read back as these numbers."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    run_id: str = ""
    weights_sha256: str = ""
    """Weights of the network that gave the rows."""
    compute: ComputeShape | None = None
    band: float | None = None
    held: tuple[str, ...] | None = None
    """As in the run's header, which can be made again from them."""
    gradient_evaluations: int = 0
    forward_passes: int = 0
    seconds: float = 0.0
    rescored: int = 0
    changed: int = 0
    notes: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    """What the notes count (float32 comparisons, audits): summed over shards."""
    largest: dict[str, float] = {}
    """What the notes measure: the largest over shards."""
    replaces: tuple[str, ...] = ()
    """Names of the shards whose rows were joined into this one: until they are deleted they are not counted."""


SUMMED = ("gradient_evaluations", "forward_passes", "seconds", "rescored", "changed")


def spent(cost: Cost, before: Cost) -> dict[str, float]:
    """What a growing cost has grown by, as fields of an Account."""
    return {name: getattr(cost, name) - getattr(before, name) for name in SUMMED}


def joined(accounts: Mapping[str, Account]) -> Account:
    """The sum of shards' accounts, by shard name; a shard that another one replaces is not counted twice."""
    replaced = {name for own, account in accounts.items() for name in account.replaces if name != own}
    counted = [account for name, account in sorted(accounts.items()) if name not in replaced]
    first = counted[0] if counted else Account()
    return first.model_copy(
        update={
            **{name: sum(getattr(account, name) for account in counted) for name in SUMMED},
            "notes": tuple(dict.fromkeys(note for account in counted for note in account.notes)),
            "counts": _each(sum, [account.counts for account in counted]),
            "largest": _each(_largest, [account.largest for account in counted]),
            "replaces": (),
        }
    )


def _largest(values: list[float]) -> float:
    """The largest; NaN where one is."""
    return next((value for value in values if isnan(value)), max(values))


def _each(how: object, found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Every name's values, put together by `how`."""
    values: dict[str, list[float]] = {}
    for one in found:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: how(each) for name, each in values.items()}  # type: ignore[operator]
