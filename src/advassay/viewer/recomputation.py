"""An attacked image made again from the stored network and the prepared image, and proved to be the recorded one.

The image is attacked by the same stream that attacked it first, in the run's own execution configuration, at all
amplitudes of one step size: they fill one batch, so that they cost little more than one. Where each iterate's logits
equal the stored ones, the pixels are those of the record.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from advassay.errors import AdvassayError
from advassay.models.weight_files import file_sha256
from advassay.progress import Silent
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import TOLERANCE, same_logits
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm, parse_step_size
from advassay.store_documents import ExecutionConfig
from advassay.store_layout import MODEL
from advassay.study.run.attacked_network import AttackedNetwork, trained_network
from advassay.trajectory import TrajectoryRows
from advassay.viewer.opened_store import OpenedStore

if TYPE_CHECKING:
    from advassay.attacks import Item
    from advassay.cohorts import PreparedCohort

Status = Literal["exact", "close", "refused"]
MOST_BYTES = 512 * 2**20
"""Of pixels that are kept for the next look, by default."""
AT_ONCE = 192 * 2**20
"""Bytes of iterates up to which all amplitudes of a step size are attacked together; beyond it one alone."""
MOST_WAITING = 4
"""Images that wait to be attacked; of more, the one asked for longest ago is let go."""
NETWORKS_KEPT = 2
REFUSALS_KEPT = 256
"""Rows that are kept though they have no pixels; the latest ones."""

Key = tuple[str, str, str, float]
"""(run_id, image_id, step size, ε)."""
Places = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Proof:
    """Whether recomputed iterates are those of the record.

    status         exact: every logit of every iterate equals the stored one bit for bit; close: to the tolerance, on
                   another device, processor or version of torch; refused: not this record
    reason         in a sentence
    iterates       compared: K + 1
    largest        largest difference of a logit; None where none was compared
    weights_sha256 of the weights that were used; empty where none were
    """

    status: Status
    reason: str
    iterates: int = 0
    largest: float | None = None
    weights_sha256: str = ""

    @property
    def shown(self) -> bool:
        """Whether the pixels may be shown as the record's."""
        return self.status != "refused"


@dataclass(frozen=True)
class Recomputed:
    """The iterates of one row, float32 (K + 1, channel, height, width) in [0, 1], and their proof; without pixels where
    it is refused."""

    proof: Proof
    iterates: np.ndarray | None = None

    @property
    def n_bytes(self) -> int:
        return 0 if self.iterates is None else self.iterates.nbytes


@dataclass
class Task(Silent):
    """One image that is being attacked, or waits to be. Told by the attack how far it is."""

    expected: int
    """Gradient steps it may take: an upper bound."""
    done: float = 0
    future: Future[None] | None = field(default=None, repr=False)
    begun: bool = False

    def start(self, task: str, total: float | None, unit: str) -> None:
        self.begun = True

    def advance(self, task: str, amount: float = 1) -> None:
        self.done = min(self.done + amount, self.expected)


class Refused(Exception):
    """The image cannot be proved; says why."""


class Recomputer:
    """Attacks images of a store again, one at a time beside the requests, and keeps the latest in bounded memory."""

    def __init__(self, opened: OpenedStore, *, most_bytes: int = MOST_BYTES) -> None:
        self._opened, self._most_bytes = opened, most_bytes
        self._kept: OrderedDict[Key, Recomputed] = OrderedDict()
        self._tasks: OrderedDict[tuple[Key, ...], Task] = OrderedDict()
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="recompute")
        self._networks: OrderedDict[tuple[str, str], AttackedNetwork] = OrderedDict()
        self._cohorts: dict[str, PreparedCohort] = {}

    def close(self) -> None:
        """Let go of what waits; what is under way ends first."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def get(self, run_id: str, image_id: str, step_size: str, epsilon: float) -> Recomputed | None:
        """What is kept of a row; None where it has to be made with `request`. Raises NotInStoreError."""
        key = self._key(run_id, image_id, step_size, epsilon)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def request(self, run_id: str, image_id: str, step_size: str, epsilon: float) -> Recomputed | Task:
        """The row, or the task that makes it, which is begun if need be. Raises NotInStoreError."""
        if (kept := self.get(run_id, image_id, step_size, epsilon)) is not None:
            return kept
        key = self._key(run_id, image_id, step_size, epsilon)
        keys = self._together(key)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            if keys in self._tasks:
                return self._tasks[keys]
            for other, waiting in list(self._tasks.items())[: max(0, len(self._tasks) - MOST_WAITING)]:
                if waiting.future is not None and waiting.future.cancel():
                    del self._tasks[other]
            task = self._tasks[keys] = Task(self._opened.run(run_id).header.steps * len(keys))
            task.future = self._worker.submit(self._make, keys, task)
            return task

    def wait(self, run_id: str, image_id: str, step_size: str, epsilon: float) -> Recomputed:
        """The row once it is made. Raises NotInStoreError."""
        found = self.request(run_id, image_id, step_size, epsilon)
        while isinstance(found, Task):
            assert found.future is not None
            found.future.result()
            found = self.request(run_id, image_id, step_size, epsilon)
        return found

    def _key(self, run_id: str, image_id: str, step_size: str, epsilon: float) -> Key:
        """The row's key, as the store writes its ε."""
        row = self._opened.row(run_id, image_id, step_size, epsilon)
        return run_id, image_id, step_size, float(self._opened.run(run_id).index.epsilon[row])

    def _together(self, key: Key) -> tuple[Key, ...]:
        """The keys that are attacked with it: every amplitude of the image that its run holds, if they fit."""
        run_id, image_id, step_size, _ = key
        run = self._opened.run(run_id)
        index = run.index
        image = index.image[self._opened.row(*key)]
        here = (index.image == image) & (index.restart == 0) & (index.epsilon > 0)
        here &= index.step_size == index.step_sizes.index(step_size)
        epsilons = sorted({float(e) for e in index.epsilon[here]} | {key[3]})
        header = run.header
        of_one = 4 * (header.steps + 1) * header.channels * header.image_size_px**2
        if of_one * len(epsilons) > min(AT_ONCE, self._most_bytes):
            return (key,)
        return tuple((run_id, image_id, step_size, epsilon) for epsilon in epsilons)

    # ---- in the worker ----------------------------------------------------------------------------------------------

    def _make(self, keys: tuple[Key, ...], task: Task) -> None:
        try:
            made = self._attack(keys, task)
        except Refused as refused:
            made = dict.fromkeys(keys, Recomputed(Proof("refused", str(refused))))
        except AdvassayError as error:
            made = dict.fromkeys(keys, Recomputed(Proof("refused", f"It cannot be attacked again: {error}")))
        except Exception as error:  # a broken file or network of one image must not end the server
            made = dict.fromkeys(
                keys, Recomputed(Proof("refused", f"It cannot be attacked again ({type(error).__name__})."))
            )
        with self._lock:
            self._kept.update(made)
            for key in made:
                self._kept.move_to_end(key)
            while len(self._kept) > len(made) and sum(one.n_bytes for one in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)  # what was looked at longest ago
            without = [key for key, one in self._kept.items() if one.iterates is None]
            for key in without[: max(0, len(without) - max(REFUSALS_KEPT, len(made)))]:
                del self._kept[key]
            self._tasks.pop(keys, None)

    def _attack(self, keys: tuple[Key, ...], task: Task) -> dict[Key, Recomputed]:
        """The rows of one image, attacked and compared. Raises Refused."""
        run_id, image_id, step_size, _ = keys[0]
        header = self._opened.run(run_id).header
        self._check_can_be_repeated(header)
        cohort = self._cohort(header)
        weights, network = self._network(header)
        here = _here(header)
        block = self._rows(header, cohort, network, keys, task)
        made = {}
        for key in keys:
            place = np.flatnonzero((block.epsilon == key[3]) & (block.restart == 0) & (block.step_size == step_size))
            stored = self._opened.column(run_id, "logits")[self._opened.row(*key)]
            iterates = block.iterate_images[image_id, step_size, key[3]]
            places = _places(header, network, here, iterates, int(block.label[0]))
            logits, differences = block.logits[int(place[0])], differs_in(header.compute, here)
            proof = compare(stored, logits, differences, weights, places=places)
            made[key] = Recomputed(proof, iterates if proof.shown else None)
        return made

    def _rows(
        self, header: RunHeader, cohort: PreparedCohort, network: AttackedNetwork, keys: tuple[Key, ...], task: Task
    ) -> TrajectoryRows:
        from advassay.attacks.engine.preflight import FIRST_IMAGES, ModelCache, PreflightCache
        from advassay.attacks.stream import stream

        ids = self._opened.run(header.run_id).images["image_id"].to_list()
        known = set(cohort.manifest["image_id"])
        classifier = network()
        every = frozenset((point.step_size, point.epsilon) for point in header.points)
        first = [_item(cohort, image, every) for image in ids[:FIRST_IMAGES] if image in known]
        wanted = _item(cohort, keys[0][1], frozenset((step_size, epsilon) for _, _, step_size, epsilon in keys))
        cache = PreflightCache(network.shared or ModelCache(), band=header.band, held=header.held)
        blocks = stream(
            classifier,
            [wanted],
            arm_of(header),
            shape=_here(header),
            keep_images=lambda _: True,
            keep_iterates=True,
            progress=task,
            expected_images=len(ids),
            known=cache,
            examined=first,
        )
        return TrajectoryRows.concatenate(list(blocks))

    def _check_can_be_repeated(self, header: RunHeader) -> None:
        if not self._opened.may_show(header.cohort):
            raise Refused(
                f"Images of {header.cohort} are not shown: its study keeps no gallery (DICOM sources keep none unless "
                "asked for). `advassay view --show-all-images` shows them."
            )
        if UPDATE_RULES.get(header.attack["update"]).searches:
            raise Refused(f"Arm {header.arm} is a search, not a trajectory of steps: it is not made again here.")
        if header.attack.get("targeted"):
            raise Refused(f"Arm {header.arm} is targeted: it is not made again here.")
        if header.compute is None:
            raise Refused("The run does not say in which execution configuration it was computed.")

    def _cohort(self, header: RunHeader) -> PreparedCohort:
        from advassay.cohorts import open_cohort

        folder = self._opened.store.cohort(header.cohort)
        if header.cohort not in self._cohorts:
            self._cohorts[header.cohort] = open_cohort(folder)
        cohort = self._cohorts[header.cohort]
        if cohort.preparation.identity != header.cohort_identity:
            raise Refused(f"The prepared images of {header.cohort} are not those that the run attacked.")
        return cohort

    def _network(self, header: RunHeader) -> tuple[str, AttackedNetwork]:
        """(SHA-256 of the weights, the network), where the store holds the weights that the run attacked."""
        path = self._opened.store.classifier(header.classifier) / MODEL
        if not path.is_file():
            raise Refused("The store does not hold the network that was attacked: it was handed over from outside.")
        found = file_sha256(path)
        if found != header.weights_sha256:
            raise Refused(
                f"The network's weights are not those that the run attacked: SHA-256 {found[:16]}…, recorded "
                f"{header.weights_sha256[:16]}…."
            )
        key = (header.classifier, found)
        if key not in self._networks:
            wanted = f"{header.cohort}, arm {header.arm}"
            self._networks[key] = trained_network(
                self._opened.store, header.classifier, _here(header).device, primary=header.primary, wanted=wanted
            )
        self._networks.move_to_end(key)
        while len(self._networks) > NETWORKS_KEPT:
            self._networks.popitem(last=False)
        return found, self._networks[key]


def compare(
    stored: np.ndarray, made: np.ndarray, differences: str, weights_sha256: str = "", *, places: Places | None = None
) -> Proof:
    """The proof from logits (K + 1, class), float32.

    `differences`: in what the machine differs; empty for nothing. `places`: iterate → its logits at every place of the
    batch (place, class), asked for where the place may have decided the last bit.

    >>> stored = np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)
    >>> compare(stored, stored, "").status, compare(stored, stored + np.float32(1e-6), "").status
    ('exact', 'refused')
    >>> compare(stored, stored + np.float32(1e-6), "another processor").status
    'close'
    """
    if stored.shape != made.shape:
        return Proof("refused", f"Not this record: {made.shape} logits, {stored.shape} are stored.")
    known = ~np.isnan(stored) & ~np.isnan(made)
    if not known.any():
        return Proof("refused", "Not proved: the network gave no logit but NaN, so that there is nothing to compare.")
    largest = float(np.max(np.abs(stored.astype(np.float64) - made), initial=0.0, where=known))
    n = len(stored)
    common: dict[str, Any] = {"iterates": n, "largest": largest, "weights_sha256": weights_sha256}
    apart = [k for k in range(n) if not _same_bits(stored[k], made[k])]
    if not apart:
        return Proof("exact", f"All logits of iterates 0 to {n - 1} equal the stored ones bit for bit.", **common)
    if places is not None and same_logits(stored, made).all():
        unexplained = [k for k in apart if not any(_same_bits(stored[k], one) for one in places(k))]
        if not unexplained:
            return Proof(
                "exact",
                f"All logits of iterates 0 to {n - 1} equal the stored ones bit for bit, those of {len(apart)} at "
                "another place in the batch, which decides the last bit of what this network gives.",
                **common,
            )
        apart = unexplained
    where = f" This machine differs from the run's in {differences}." if differences else ""
    if differences and same_logits(stored, made).all():
        return Proof(
            "close",
            f"Not bit for bit, since this machine differs from the run's in {differences}. All logits of iterates 0 to "
            f"{n - 1} agree within {TOLERANCE:g} (absolute and relative); the largest difference is {largest:.3g}.",
            **common,
        )
    if same_logits(stored, made).all():
        where += " So little may also come from the place in the batch, which decides last bits of some networks."
    return Proof(
        "refused",
        f"Not this record: from iterate {apart[0]} on logits differ from the stored, by up to {largest:.3g}.{where}",
        **common,
    )


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal bit for bit; any NaN equals any other."""
    same = one.astype(np.float32).view(np.uint32) == other.astype(np.float32).view(np.uint32)
    return bool((same | (np.isnan(one) & np.isnan(other))).all())


def arm_of(header: RunHeader) -> Arm:
    """The arm of a run, with the amplitudes and step sizes that it holds."""
    epsilons = sorted({point.epsilon for point in header.points})
    names = dict.fromkeys(point.step_size for point in header.points)
    return Arm(**header.attack, epsilons=tuple(epsilons), step_sizes=tuple(parse_step_size(name) for name in names))


def _places(
    header: RunHeader, network: AttackedNetwork, here: ExecutionConfig, iterates: np.ndarray, label: int
) -> Places:
    """Iterate → its logits at every place of the run's batch."""
    from advassay.attacks.scoring import logits_at_every_place

    return lambda k: logits_at_every_place(
        network(), iterates[k], label, loss=header.attack["loss"], shape=here, held=header.held or ()
    )


def _item(cohort: PreparedCohort, image_id: str, points: frozenset[tuple[str, float]]) -> Item:
    from advassay.attacks import Item

    return Item(image_id, cohort.images([image_id])[0], int(cohort.labels([image_id])[0]), points)


def _here(header: RunHeader) -> ExecutionConfig:
    """The run's configuration as this machine can repeat it."""
    from advassay.attacks.batch_tuning import execution_config
    from advassay.study.environment import choose_device

    kept = header.compute
    assert kept is not None
    device = choose_device("auto") if kept.device == "cuda" else "cpu"
    here = execution_config(kept.batch_size, precision=header.attack["precision"], device=device)
    if (kept.device, kept.torch) == (here.device, here.torch):
        return kept.model_copy(update={"device_name": here.device_name})
    possible = tuple(rewrite for rewrite in kept.rewrites if rewrite in here.rewrites)
    told = {"device": here.device, "device_name": here.device_name, "torch": here.torch, "rewrites": possible}
    return kept.model_copy(update=told)


def differs_in(kept: ExecutionConfig | None, here: ExecutionConfig) -> str:
    """What of the machine differs between two configurations, in words; empty where nothing does."""
    if kept is None:
        return "what the run does not say"
    told: list[tuple[str, Callable[[ExecutionConfig], str]]] = [
        ("device", lambda one: one.device),
        ("processor", lambda one: one.device_name),
        ("torch", lambda one: one.torch),
    ]
    return ", ".join(f"{name} ({of(kept)}, here {of(here)})" for name, of in told if of(kept) != of(here))
