"""Which images make one curve: runs split by cohort, class, arm or step size, the rest pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advassay.analysis.packed import Packed, packed, step_sizes
from advassay.analysis.selection import first_step_size, runs_of
from advassay.errors import SpecError
from advassay.records.store import Records

BY = ("cohort", "image_type", "class", "arm", "step_size")


@dataclass(frozen=True)
class Part:
    """Images of one run that enter one curve."""

    pack: Packed
    images: np.ndarray
    """(image,) bool."""
    key: dict[str, Any]
    """cohort, image_type, arm, step_size, train_size, seed and, with by="class", class."""


def names_of(by: str | Sequence[str], known: Sequence[str] = BY) -> tuple[str, ...]:
    """`by` as names. Raises SpecError for an unknown or no name."""
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not set(names) <= set(known):
        raise SpecError(f"by: one or more of {', '.join(known)}, got {by!r}.", 'For example by=("cohort", "class").')
    return names


def grouped(
    records: Records, by: tuple[str, ...], arm: str | None = None, step_size: str | None = None, *,
    networks: bool = False,
) -> list[list[Part]]:  # fmt: skip
    """The curves to draw: each a list of parts that are pooled; `networks=True`: every network apart, else the main."""
    arms = records.arms if "arm" in by and arm is None else [arm]
    packs = [pack for name in arms for pack in _packs(records, name, step_size, "step_size" in by, networks)]
    found: dict[tuple[Any, ...], list[Part]] = {}
    for part in (part for pack in packs for part in _parts(pack, "class" in by)):
        network = (part.key["train_size"], part.key["seed"]) if networks else ()
        found.setdefault((*(part.key[name] for name in by if name in part.key), *network), []).append(part)
    return list(found.values())


def _packs(records: Records, arm: str | None, step_size: str | None, every: bool, networks: bool) -> list[Packed]:
    """One pack a run, or one a run and step size."""
    runs = runs_of(records, arm, primary=not networks)
    if every and step_size is None:
        return [packed(run, name) for run in runs for name in step_sizes(run)]
    return [packed(run, step_size or first_step_size(records, run)) for run in runs]


def _parts(pack: Packed, by_class: bool) -> Iterator[Part]:
    header = pack.header
    key = {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": pack.step_size,
        "train_size": header.train_size, "seed": header.seed,
    }  # fmt: skip
    if not by_class:
        yield Part(pack, np.ones(len(pack.labels), bool), key)
        return
    for label, name in enumerate(header.class_names):
        yield Part(pack, pack.labels == label, key | {"class": name})
