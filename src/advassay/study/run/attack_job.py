"""One run: a network attacked by an arm, stored as it comes, continued where it stopped; its controls and re-run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from advassay.errors import StoreError
from advassay.identity import canonical_float
from advassay.progress import Progress, Silent, timed_task
from advassay.records import Account, Run, RunHeader, RunWriter, read_header
from advassay.records.row_shards import FLAG
from advassay.records.run_header import SUMMED_COSTS, cost_since, sum_accounts
from advassay.records.run_writer import ShardWriter, of_other_weights, write_controls
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.store_documents import Controls, Doubling, ExecutionConfig
from advassay.store_layout import HEADER, Store
from advassay.study.environment import RelabelledProgress, RunEnvironment
from advassay.study.gradient_counts import reach_notes, steps_at
from advassay.study.run.attacked_network import AttackedNetwork, rerun_header
from advassay.study.run.doubling_control import count_doubling
from advassay.study.run.execution_config import (
    WorkloadOf,
    WorkloadSize,
    choose_execution_config,
    repeat_execution_config,
)
from advassay.study.run.gallery_selection import Gallery, Points
from advassay.study.run.run_pieces import BegunRun, Piece, PieceDone, lacking_pieces
from advassay.study.run.subgroup_columns import subgroup_columns, subgroup_notes
from advassay.study.run_request import RunRequest
from advassay.study.upkeep.superseded_runs import set_aside_other_network
from advassay.success import has_succeeded
from advassay.trajectory import Cost, TrajectoryRows

if TYPE_CHECKING:
    from advassay.attacks import AttackStream, Item
    from advassay.attacks.engine.preflight import PreflightCache
    from advassay.cohorts import PreparedCohort


class AttackRun:
    """One run of the store: a network attacked by an arm on a sample of a cohort, and what is done beside it."""

    def __init__(
        self,
        site: RunEnvironment,
        cohort: PreparedCohort,
        network: AttackedNetwork,
        header: RunHeader,
        request: RunRequest,
        workload: WorkloadOf,
    ) -> None:
        self.site, self.cohort, self.network = site, cohort, network
        self.header, self.request = header, request
        """The header as the run begins with it, and what the run is to hold."""
        self.folder = site.store.run(header.run_id)
        self._workload = workload
        self._writer: ShardWriter | None = None

    def attack(self, *, touch: bool = False) -> RunHeader:
        """Attack what the run still lacks; the network is loaded only where something does.

        `touch`: reopen the run even when it is complete, so that it counts again as its place's current one.
        Returns the header as it stands afterwards.
        """
        if self._is_complete(touch=touch):
            return read_header(self.folder)
        writer, config = self._open()
        rest, late = self._attack_missing(writer, config)
        return self._close(writer, config, rest, late)

    def begin(self, *, touch: bool = False) -> BegunRun | None:
        """Begin, or continue, a run that is attacked in pieces: make its images known, find what holds for all pieces.

        For that the first images are attacked, where none has been yet. None where the run is complete.
        """
        if self._is_complete(touch=touch):
            return None
        writer, config = self._open()
        ids, points = self.request.image_ids, self.request.points
        batch_images = ceil(config.batch_size / max(1, WorkloadSize(self.request).rows[0] / max(1, len(ids))))
        if writer.header.held is None and (missing := writer.missing(ids, points)):
            writer.suspend(*self._attack(writer, config, dict(islice(missing.items(), batch_images)), Silent()))
        missing = writer.missing(ids, points)
        steps = _steps(missing, self.request.arm)
        return BegunRun(self.header.run_id, lacking_pieces(ids, missing), steps, batch_images)

    def attack_piece(self, piece: Piece, *, rows_before: bool) -> PieceDone:
        """Attack one piece of a run that was begun, and store it as one shard; the header is left alone.

        rows_before: whether some of its rows may be stored already; they are then looked for.
        """
        if rows_before or self._writer is None:
            writer = ShardWriter(self.folder, rows_before=rows_before)
            self._writer = None if rows_before else writer
        else:
            writer = self._writer
        ids = self.request.image_ids[piece.start : piece.stop]
        missing = writer.missing(ids, piece.points)
        if not missing:
            return PieceDone(len(ids), 0, 0)
        assert writer.header.compute is not None
        repeat_execution_config(writer.header.compute, self.site)
        gallery = self._gallery()
        stream = self._stream(missing, writer.header.compute, gallery, Silent(), writer.header)
        blocks: list[TrajectoryRows] = []
        accounts: dict[str, Account] = {}
        before = Cost()
        for block in stream:
            gallery.write(block)
            accounts[f"{len(blocks):09}"] = _account(stream, before)
            blocks.append(replace(block, final_images={}))
            before = replace(stream.cost)
        total = sum_accounts(accounts)
        rest = cost_since(stream.cost, before)
        summed = {name: getattr(total, name) + rest[name] for name in SUMMED_COSTS}
        notes = [note for note in stream.notes if not note.startswith(OF_A_SESSION)]
        account = total.model_copy(update=summed | {"notes": tuple(dict.fromkeys((*total.notes, *notes)))})
        rows = writer.append(TrajectoryRows.concatenate(blocks), account)
        return PieceDone(len(ids), rows, account.gradient_evaluations)

    def end(self) -> RunHeader:
        """End a run whose pieces have been attacked. Returns the header as it stands afterwards."""
        config = read_header(self.folder).compute
        assert config is not None
        repeat_execution_config(config, self.site)
        header = self.header.model_copy(update={"compute": config})
        return self._close(RunWriter(self.folder, header, goes_on=True), config, Cost(), [])

    def _is_complete(self, *, touch: bool) -> bool:
        done = self.is_attacked() and self._knows_patients()
        return not touch and done and not self._gallery().missing()

    def _gallery(self) -> Gallery:
        return Gallery(self.site.store, self.header, self.request, self.cohort)

    def _open(self) -> tuple[RunWriter, ExecutionConfig]:
        """A session of the run, its images known."""
        config = self._execution_config()
        began_anew = set_aside_other_network(self.site.store, self.header)
        notes = (began_anew,) if began_anew else ()
        writer = RunWriter(self.folder, self.header.model_copy(update={"compute": config, "notes": notes}))
        writer.add_images(self._images(writer.unknown_images()))
        return writer, config

    def _close(self, writer: RunWriter, config: ExecutionConfig, rest: Cost, late: Sequence[str]) -> RunHeader:
        """End the session, once the rows are there."""
        gallery = self._gallery()
        if lacking := gallery.missing():  # asked for after the attack: the same images once more, not stored twice
            for block in self._stream(lacking, config, gallery, Silent(), writer.header):
                gallery.write(block)
        told = [*reach_notes(self.header.arm, self.request.arm),
                *subgroup_notes(self.cohort.manifest, self.request.subgroups)]  # fmt: skip
        note = account_note(writer.total(), undecided_images(Run(self.folder)))
        return writer.finish(rest, account_note=note, notes=[*told, *late])

    def control(self) -> RunHeader:
        """Run the controls that the run lacks, and the doubling control. Returns the header as it stands afterwards."""
        header = read_header(self.folder)
        if not self.request.controls:
            return header
        if header.controls is None:
            with timed_task(self.site.progress, f"controls of {_name(header)}"):
                header = write_controls(self.folder, self._controls(header))
        controls = header.controls
        assert controls is not None
        if self.lacks_doubling(controls):
            header = write_controls(self.folder, controls.model_copy(update={"doubling": self._doubling(header)}))
        return header

    def rerun(self) -> RunHeader | None:
        """Attack again, with the margin loss, what the run found no gradient for. None where there is nothing.

        Where a softmax loss saturates, an image may stay correct for a purely numerical reason. The re-run is a run of
        its own that never overwrites the declared one.
        """
        linked = self.linked()
        return None if linked is None else linked.attack()

    def linked(self) -> AttackRun | None:
        """The run that attacks again what this one found no gradient for. None where there is nothing."""
        from advassay.attacks import linked_rerun

        again = linked_rerun(self.request.arm) if self.request.controls else None
        if again is None or not (masked := gradient_masked_ids(self.site.store, self.header.run_id, self.request)):
            return None
        alone = {"gallery_ids": frozenset[str](), "controls": False, "doubling": None}
        request = replace(self.request, arm=again, image_ids=masked, **alone)  # type: ignore[arg-type]
        header = rerun_header(self.header, again)
        own = WorkloadSize(request)
        return AttackRun(self.site, self.cohort, self.network, header, request, lambda kind: own)

    # ---- what the store holds ---------------------------------------------------------------------------------------

    def is_attacked(self) -> bool:
        """Does the store hold the run with all points and images, described as it is now?

        Counting images is enough: of one prepared cohort a larger sample contains every smaller one.
        """
        if not (self.folder / HEADER).exists():
            return False
        try:
            run = Run(self.folder)
            kept, index = run.header, run.index  # what the shards hold: the header's counts outlive a damaged shard
            accounts = run.accounts().values()
        except StoreError:  # a damaged header or images.parquet: the writer mends it
            return False
        if run.damaged or of_other_weights(kept, self.header):
            return False
        counted = any(account.counts for account in accounts) or bool(kept.flag_counts.get("nan"))
        finished = kept.rows == len(index) and bool(kept.account_note) == counted
        counts = {point: rows.stop - rows.start for point, rows in index.points().items()}
        wanted = len(self.request.image_ids)
        recorded = all(counts.get((name, canonical_float(e)), 0) >= wanted for name, e in self.request.points)
        return finished and recorded and _described(kept) == _described(self.header)

    def lacks_doubling(self, controls: Controls) -> bool:
        """Whether the control with twice the iterations is still to be run."""
        plan, images = self.request.doubling, len(self.request.image_ids)
        return plan is not None and not plan.is_done(controls, self.request.arm, images)

    def _knows_patients(self) -> bool:
        """Does the run know its images' patients and groups as they are now? Another patient column or key changes the
        clusters.
        """
        manifest = self.cohort.manifest
        columns = [name for name in ("image_id", "patient_id", "has_patient") if name in manifest]
        groups, _ = subgroup_columns(manifest, self.request.subgroups)
        now = manifest.select(columns).join(groups, on="image_id")
        now = now.filter(pl.col("image_id").is_in(list(self.request.image_ids)))
        kept = Run(self.folder).images
        if not set(now.columns) <= set(kept.columns):
            return False
        return now.join(kept.select(now.columns), on=now.columns, how="anti", nulls_equal=True).is_empty()

    def _images(self, unknown: Sequence[str]) -> pl.DataFrame:
        """The attacked images as records know them, and `unknown` ones that records have rows of; columns with paths or
        original ids never get here."""
        manifest = self.cohort.manifest
        known = set(manifest["image_id"])
        ids = list(dict.fromkeys((*self.request.image_ids, *(image_id for image_id in unknown if image_id in known))))
        contrast = [clean_contrast(image) for _, image, _ in self.cohort.stream(ids)]
        wanted = pl.DataFrame({"image_id": ids, "clean_contrast": contrast})
        columns = [c for c in ("image_id", "label", "patient_id", "has_patient", "parent_image_id") if c in manifest]
        groups, _ = subgroup_columns(manifest, self.request.subgroups)
        told = manifest.select(columns).join(groups, on="image_id")
        return wanted.join(told, on="image_id", how="left", maintain_order="left")

    # ---- the attack itself ------------------------------------------------------------------------------------------

    def _execution_config(self) -> ExecutionConfig:
        return choose_execution_config(
            self.network(),
            self.cohort.images(self.request.image_ids[:1])[0],
            architecture=self.header.architecture,
            precision=self.request.arm.precision,
            site=self.site,
            workload=self._workload,
        )

    def _attack_missing(self, writer: RunWriter, config: ExecutionConfig) -> tuple[Cost, list[str]]:
        """Attack what the run lacks. Returns what no block accounts for."""
        missing = writer.missing(self.request.image_ids, self.request.points)
        if not missing:
            return Cost(), []
        told = RelabelledProgress(self.site.progress, _task(writer.header), _steps(missing, self.request.arm))
        return self._attack(writer, config, missing, told)

    def _attack(
        self, writer: RunWriter, config: ExecutionConfig, missing: Mapping[str, Points], progress: Progress
    ) -> tuple[Cost, list[str]]:
        """Attack the missing points, block by block, each stored with its account. Returns what no block accounts for:
        cost, and the notes that came after the last one.
        """
        gallery = self._gallery()
        stream = self._stream(missing, config, gallery, progress, writer.header)
        before = Cost()
        for block in stream:
            writer.keep_steering(stream.known.band, stream.known.held)
            gallery.write(block)
            writer.append(block, _account(stream, before))
            before = replace(stream.cost)
        late = [note for note in stream.notes if not note.startswith(OF_A_SESSION)]
        return Cost(**cost_since(stream.cost, before)), late  # type: ignore[arg-type]

    def _stream(
        self,
        missing: Mapping[str, Points],
        config: ExecutionConfig,
        gallery: Gallery,
        progress: Progress,
        header: RunHeader,
    ) -> AttackStream:
        """The attack on the missing points. What it says of the network, and how much of it is audited, follows from
        the whole request: a run that was stopped and goes on tells the same as one that was not.
        """
        from advassay.attacks.engine.preflight import FIRST_IMAGES
        from advassay.attacks.stream import stream

        ids = self.request.image_ids
        first = dict.fromkeys(ids[:FIRST_IMAGES], self.request.points)
        return stream(
            self.network(),
            _items(self.cohort, missing),
            self.request.arm,
            shape=config,
            keep_images=gallery.wants,
            progress=progress,
            expected_images=len(ids),
            known=self._known(header),
            examined=list(_items(self.cohort, first)),
        )

    def _known(self, header: RunHeader) -> PreflightCache:
        """What is known of the network before the run goes on."""
        from advassay.attacks.engine.preflight import ModelCache, PreflightCache

        return PreflightCache(self.network.shared or ModelCache(), band=header.band, held=header.held)

    def _controls(self, header: RunHeader) -> Controls:
        from advassay.attacks import run_controls

        request, config = self.request, self._execution_config()
        ids = list(request.image_ids[: request.control_images])
        images, labels, arm = self.cohort.images(ids), self.cohort.labels(ids), request.arm
        return run_controls(
            self.network(),
            images,
            labels,
            ids,
            arm,
            shape=config,
            seed=arm.seed,
            declared=_misclassified(Run(self.folder), arm, ids),
            known=self._known(header),
        )

    def _doubling(self, header: RunHeader) -> Doubling:
        """Attack the sample for twice the iterations; in the run's own configuration the first K iterates are its."""
        from advassay.attacks.stream import stream

        request, plan, config = self.request, self.request.doubling, self._execution_config()
        assert plan is not None
        images = len(request.image_ids)
        arm = plan.arm(request.arm, images)
        points = frozenset((step_size_name(plan.step_size), epsilon) for epsilon in arm.epsilons)
        sample = dict.fromkeys(request.image_ids[: plan.sample(request.arm, images)], points)
        task = f"controls of {_name(header)}, twice the iterations"
        told = RelabelledProgress(self.site.progress, task, _steps(sample, arm))
        items, n, known = _items(self.cohort, sample), len(sample), self._known(header)
        blocks = list(stream(self.network(), items, arm, shape=config, progress=told, expected_images=n, known=known))
        return count_doubling(Run(self.folder), TrajectoryRows.concatenate(blocks), arm, request.arm_name)


def gradient_masked_ids(store: Store, run_id: str, request: RunRequest) -> tuple[str, ...]:
    """Images of the request, in the sample's order, whose gradient vanished or whose probability rounded to 1 at one of
    its points, as the run recorded them.
    """
    from advassay.attacks.masked_gradient_rerun import GRADIENT_MASKED

    run = Run(store.run(run_id))
    flags = [flag for flag in GRADIENT_MASKED if flag in run.index.flags and run.header.flag_counts.get(flag)]
    if not flags:
        return ()
    index = run.index
    masked = np.logical_or.reduce([run.column(FLAG + flag) for flag in flags])
    asked = np.zeros(len(index), bool)
    for name, epsilon in request.points:
        if name in index.step_sizes:
            asked |= (index.step_size == index.step_sizes.index(name)) & (index.epsilon == epsilon)
    found = set(run.images["image_id"].gather(np.unique(index.image[masked & asked])).to_list())
    return tuple(image_id for image_id in request.image_ids if image_id in found)


OF_A_SESSION = ("nan: ", "float32 judged ")
"""How notes begin that count what one session saw; the run's own count is in its account's sentence."""


MEASURED = ("largest", "start", "widest")
"""Of the comparisons with float32: the largest of all blocks counts, the other numbers are summed."""


def _account(stream: AttackStream, before: Cost) -> Account:
    """What the stream's latest block took and showed."""
    compared = {} if stream.compared is None else asdict(stream.compared)
    return Account(
        **cost_since(stream.cost, before),
        notes=tuple(stream.notes),
        counts={name: int(value) for name, value in compared.items() if name not in MEASURED},
        largest={name: float(value) for name, value in compared.items() if name in MEASURED},
    )


def account_note(total: Account, undecided: int) -> str:
    """What is counted over the whole run, in words: images without a decision, and how steering compared with float32;
    "" where there is neither.
    """
    from advassay.attacks.engine.float32_verifier import Comparisons

    nan = (
        f"nan: {undecided} images have NaN logits at some iterate. They are neither success nor robustness there and "
        "leave both denominators; flag_nan says which."
    )
    told = [nan] if undecided else []
    if total.counts:
        told.append(Comparisons(**total.counts, **total.largest).summary())  # type: ignore[arg-type]
    return " ".join(told)


def undecided_images(run: Run) -> int:
    """Images with a NaN logit at some iterate of some row, counted from what is stored."""
    if "nan" not in run.index.flags:
        return 0
    return int(np.unique(run.index.image[run.column(f"{FLAG}nan")]).size)


def _described(header: RunHeader) -> tuple[object, ...]:
    """What may change about a run without changing its numbers."""
    return (
        header.study,
        header.arm,
        header.arm_position,
        header.cohort,
        header.cohort_title,
        header.patients_known,
        *_asked(header),
    )


def _asked(header: RunHeader) -> tuple[object, ...]:
    """What the run's numbers are taken to say."""
    return (header.primary, header.positive, header.class_names, header.image_type, header.full, header.train_size)


def _task(header: RunHeader) -> str:
    """The run's name in progress."""
    again = " again, margin loss" if header.rerun_of else ""
    return f"attack {_name(header)}{again}"


def _name(header: RunHeader) -> str:
    return f"{header.cohort}, {_network(header)}, arm {header.arm}"


def _network(header: RunHeader) -> str:
    if header.train_size is None:
        return header.architecture
    return f"{header.train_size} training images" + ("" if header.primary else f", seed {header.seed}")


def _items(cohort: PreparedCohort, missing: Mapping[str, Points]) -> Iterator[Item]:
    from advassay.attacks import Item

    for image_id, image, label in cohort.stream(list(missing)):
        yield Item(image_id, image, label, missing[image_id])


def _steps(missing: Mapping[str, Points], arm: Arm) -> int:
    """Gradient steps that the missing points take."""
    return sum(images * steps_at(arm, points) for points, images in Counter(missing.values()).items())


def clean_contrast(image: np.ndarray) -> float:
    """Standard deviation over pixels of a clean image's grey value (mean of its channels).

    `image`: float32 (channel, height, width) in [0, 1]. The result is in [0, 0.5].
    """
    return float(image.mean(axis=0, dtype=np.float64).std())


def _misclassified(run: Run, arm: Arm, image_ids: Sequence[str]) -> dict[float, set[str]]:
    """ε → images of the sample that are misclassified at the recorded run's last iterate, at the arm's first step size,
    without restarts. The keys are the arm's own ε: records keep 12 digits of it, so 5/255 is not found as written.
    """
    ids, points = run.images["image_id"].to_numpy(), run.index.points()
    sample = np.isin(ids, list(image_ids))
    logits, label, target = (run.column(name) for name in ("logits", "label", "target"))
    found: dict[float, set[str]] = {}
    for epsilon in arm.epsilons:
        rows = points.get((step_size_name(arm.step_sizes[0]), canonical_float(epsilon)), slice(0, 0))
        kept = np.arange(rows.start, rows.stop)[sample[run.index.image[rows]]]
        aim = target[kept] if arm.targeted else None
        down = has_succeeded(logits[kept].swapaxes(0, 1), label[kept], targets=aim)[-1]
        found[epsilon] = set(ids[run.index.image[kept[down]]].tolist())
    return found
