"""The head of a run: what its rows mean, how to run it again, and what its blocks cost."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from advassay.identity import content_hash
from advassay.model_document import ModelProof
from advassay.spec.attack_spec import Arm
from advassay.spec.base_model import Frozen
from advassay.store_documents import Controls, ExecutionConfig
from advassay.trajectory import Cost


class Account(Frozen):
    """Of one shard. Numbers that are none (NaN, infinite) are written as texts, which read back as these numbers."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    run_id: str = ""
    weights_sha256: str = ""
    """Weights of the network that gave the rows."""
    compute: ExecutionConfig | None = None
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


SUMMED_COSTS = ("gradient_evaluations", "forward_passes", "seconds", "rescored", "changed")


def cost_since(cost: Cost, before: Cost) -> dict[str, float]:
    """What a growing cost has grown by, as fields of an Account."""
    return {name: getattr(cost, name) - getattr(before, name) for name in SUMMED_COSTS}


def sum_accounts(accounts: Mapping[str, Account]) -> Account:
    """The sum of shards' accounts, by shard name; a shard that another one replaces is not counted twice."""
    replaced = {name for own, account in accounts.items() for name in account.replaces if name != own}
    counted = [account for name, account in sorted(accounts.items()) if name not in replaced]
    first = counted[0] if counted else Account()
    return first.model_copy(
        update={
            **{name: sum(getattr(account, name) for account in counted) for name in SUMMED_COSTS},
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


FORMAT_VERSION = "1"
"""Written into every header and shard; a reader refuses a larger one."""


TRANSFER_STEPS = 2
"""K of a run of transfer/: after the clean image, 1 is random noise of the same size and 2 the attacked image."""


class Point(Frozen):
    """One point of the grid that the run holds."""

    step_size: str
    """The rule as text: "0.01" or "epsilon/4"."""
    epsilon: float
    images: int
    """Images recorded at this point."""


class Spent(Frozen):
    """What all finished sessions of a run spent together (see trajectory.Cost for the fields)."""

    gradient_evaluations: int = 0
    forward_passes: int = 0
    seconds: float = 0.0
    rescored: int = 0
    changed: int = 0
    sessions_started: int = 0
    sessions_finished: int = 0
    """Fewer than started: some sessions were killed and their cost is not in the sums."""

    def plus(self, cost: Cost) -> Spent:
        """The sums with one more finished session."""
        sums = {f: getattr(self, f) + getattr(cost, f) for f in SUMMED}
        return self.model_copy(update=sums | {"sessions_finished": self.sessions_finished + 1})


SUMMED = ("gradient_evaluations", "forward_passes", "seconds", "rescored", "changed")


class RunHeader(BaseModel):
    """records/<run_id>/header.json. Holds no file path, no original id and no pixel."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    format_version: str = FORMAT_VERSION
    """Version of the records format (FORMAT.md)."""
    run_id: str
    """`run_identity` of what follows; also the folder's name."""
    created: str = Field(default_factory=lambda: now())
    """When the run was first opened, UTC, ISO 8601."""
    updated: str = Field(default_factory=lambda: now())
    """When a session last opened or finished it; of two runs that differ only in their specs the later one counts."""
    study: str = ""
    """Name of the study that asked for it; empty for a lone attack."""
    cohort: str
    """Cohort id (study group), e.g. X-TB."""
    cohort_title: str = ""
    cohort_identity: str | None = None
    """Content of the prepared cohort (Preparation.identity); null for images attacked without a preparation."""
    image_type: str = ""
    """The study's factor: X-ray, histology, …"""
    class_names: tuple[str, ...]
    """Index = label = position of the logit."""
    positive: str = ""
    """Class whose detection is sensitivity."""
    channels: int
    image_size_px: int
    """Side of the images as the network takes them; channels × side² is the pixel count that PSNR needs."""
    bits: int = 8
    """Depth of the prepared images."""
    patients_known: bool = True
    """False where no image carries a patient: intervals then treat images as independent."""
    classifier: str
    """Identity of the network (TrainingDocument.classifier, or the hash of foreign weights)."""
    architecture: str = ""
    weights_sha256: str = ""
    train_size: int | None = None
    """Training images used; null for a foreign classifier."""
    full: bool = True
    """Trained on the whole training split."""
    primary: bool = True
    """The cohort's main network of the first seed. False for its main networks of other seeds (`full`, another `seed`)
    and for smaller members of a size series (not `full`)."""
    seed: int | None = None
    """Seed the network was trained with."""
    model_proof: ModelProof | None = Field(None, exclude_if=lambda value: value is None)
    """Of a model of another maker: how closely it was found to equal its own runtime before the first step."""
    arm: str
    """Name of the attack arm in its study (A, B, …)."""
    arm_position: int = 0
    """Place of the arm in the study; 0 is the main arm."""
    attack: dict[str, Any]
    """The attack's rules (update, loss, norm, steps, start, restarts, seed, targeted, precision), without ε and steps
    sizes, which are axes."""
    rerun_of: str | None = None
    """run_id of the declared run whose flagged images this run attacks again; null for a declared run."""
    source_classifier: str | None = Field(None, exclude_if=lambda value: value is None)
    """Of transfer/: identity of the network that the images were attacked on; `classifier` scored them. Null for runs
    of records/."""
    source_architecture: str = Field("", exclude_if=lambda value: not value)
    source_weights_sha256: str = Field("", exclude_if=lambda value: not value)
    source_train_size: int | None = Field(None, exclude_if=lambda value: value is None)
    source_full: bool | None = Field(None, exclude_if=lambda value: value is None)
    source_seed: int | None = Field(None, exclude_if=lambda value: value is None)
    """What the fields without `source_` say of `classifier`."""
    compute: ExecutionConfig | None = None
    """What fixes the last bits of the logits."""
    band: float | None = None
    """|margin| in logits up to which no image's low-precision verdict was trusted (single images: up to more); null
    where every pass was float32. Measured when the run began and kept, so that a continued run decides alike."""
    held: tuple[str, ...] | None = None
    """Rewrites of the network that held on the run's first images, kept likewise; null before the first block."""
    steps: int
    """K: every row holds iterates 0 … K."""
    points: tuple[Point, ...] = ()
    """What is recorded, by step size and ε."""
    images: int = 0
    """Distinct images recorded."""
    rows: int = 0
    """image × step size × ε × restart."""
    flag_counts: dict[str, int] = {}
    """Guard or failure indicator → rows that carry it."""
    controls: Controls | None = None
    """Evidence that the attack worked; null until the controls have run."""
    cost: Spent = Spent()
    """What the sessions spent: the sum over the shards' accounts and `cost_apart`."""
    cost_apart: Spent | None = Field(None, exclude_if=lambda value: value is None)
    """The part of `cost` that no shard accounts for: controls, shards of earlier versions; null = all of it."""
    account_note: str = Field("", exclude_if=lambda value: not value)
    """The sentence among `notes` that sums up all shards; replaced when more is recorded."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know, in plain sentences."""
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    """Of python and the libraries that shaped the numbers."""


def attack_rules(arm: Arm) -> dict[str, Any]:
    """What an arm does apart from its grid: everything but ε, step sizes and the number of images.

    >>> sorted(attack_rules(Arm()))[:3]
    ['loss', 'norm', 'precision']
    """
    return arm.model_dump(mode="json", exclude={"epsilons", "step_sizes", "images"})


def run_identity(
    *,
    classifier: str,
    arm: Arm,
    cohort_identity: str | None = None,
    rerun_of: str | None = None,
    source_classifier: str | None = None,
) -> str:
    """The run's id by content: cohort, classifier, attack rules and precision policy.

    `source_classifier`: of images that were attacked on another network than `classifier`, which scores them.

    >>> wider = Arm(epsilons=(0.02, 0.3), step_sizes=("epsilon/4",), images=7)
    >>> run_identity(classifier="c", arm=Arm()) == run_identity(classifier="c", arm=wider)
    True
    """
    content = {"cohort": cohort_identity, "classifier": classifier, "attack": attack_rules(arm), "rerun_of": rerun_of}
    if source_classifier is not None:
        content["source_classifier"] = source_classifier
    return content_hash(content)


def now() -> str:
    """UTC, to the microsecond: of two sessions the later one must be told apart."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """python and the installed distributions that shape a record's numbers (read from metadata, nothing imported)."""
    found = {"python": platform.python_version()}
    for name in ("advassay", "torch", "timm", "numpy", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
