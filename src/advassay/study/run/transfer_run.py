"""Transfer: one network of a cohort is attacked, and every network of the cohort scores what came of it.

The attack is the deciding arm at its analysed step size. Its last iterates are scored as they come and not kept. Each
pair of networks has a run of its own in STORE/transfer/, with three "iterates" a row: 0 the clean image, 1 random noise
of the same size, 2 the attacked image. The pair of a network with itself says what the attack did to its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from advassay.errors import StoreError
from advassay.record_columns import columns_of, unset_columns
from advassay.records import Account, RunHeader, RunWriter, read_header, run_identity
from advassay.records.feature_distances import add_features, lacking_features
from advassay.records.run_header import TRANSFER_STEPS, cost_since
from advassay.records.run_writer import of_other_weights
from advassay.store_documents import ExecutionConfig
from advassay.store_layout import HEADER
from advassay.study.environment import RelabelledProgress, RunEnvironment
from advassay.study.gradient_counts import Point, steps_at
from advassay.study.run.attacked_network import AttackedNetwork, recorded_points, run_header
from advassay.study.run.execution_config import WorkloadOf, choose_execution_config
from advassay.study.run_request import RunRequest
from advassay.study.upkeep.superseded_runs import move_aside
from advassay.trajectory import Cost, TrajectoryRows

if TYPE_CHECKING:
    from advassay.attacks import AttackStream, Item
    from advassay.cohorts import PreparedCohort

NOTE = (
    "Transfer: iterate 0 is the clean image, 1 random noise of the same size, 2 the image as attacked on "
    "source_classifier. The logits are those of classifier."
)


REFERENCE = 64
"""Images of the sample, its first ones, that distances to the same and to other classes are the mean over: those of
other patients."""


class TransferRun:
    """One network of a cohort as the source, and all networks of the cohort, itself among them, as targets."""

    def __init__(
        self,
        site: RunEnvironment,
        study: str,
        cohort: PreparedCohort,
        source: AttackedNetwork,
        targets: tuple[AttackedNetwork, ...],
        request: RunRequest,
        workload: WorkloadOf,
        *,
        features: bool = False,
    ) -> None:
        """`features`: measure how far images move in the source's features too."""
        self._features = features
        self.site, self.cohort, self.source, self.targets, self.request = site, cohort, source, targets, request
        self.headers = {target.identity: self._header(study, target) for target in targets}
        """Target → the header that its run begins with."""
        self._workload = workload
        self._seen: np.ndarray | None = None

    def _header(self, study: str, target: AttackedNetwork) -> RunHeader:
        request, source = self.request, self.source
        header = run_header(study, self.cohort.preparation, target, request)
        run_id = run_identity(
            classifier=target.identity,
            arm=request.arm,
            cohort_identity=self.cohort.preparation.identity,
            source_classifier=source.identity,
        )
        of_source: dict[str, Any] = {
            "source_classifier": source.identity,
            "source_architecture": source.architecture,
            "source_weights_sha256": source.described["weights_sha256"],
            "source_train_size": source.described["train_size"],
            "source_full": source.described["full"],
            "source_seed": source.described["seed"],
        }
        return header.model_copy(update={"run_id": run_id, "steps": TRANSFER_STEPS, "notes": (NOTE,)} | of_source)

    def is_done(self) -> bool:
        """Does the store hold the scores of all targets at all points, of these weights?"""
        wanted = len(self.request.image_ids)
        for header in self.headers.values():
            folder = self.site.store.transfer(header.run_id)
            if not (folder / HEADER).exists() or of_other_weights(read_header(folder), header):
                return False
            if min(recorded_points(folder, self.request.points).values()) < wanted:
                return False
        return not self._lacking_features()

    @property
    def _own_folder(self) -> Path:
        return self.site.store.transfer(self.headers[self.source.identity].run_id)

    def _lacking_features(self) -> dict[str, frozenset[Point]]:
        """image → points whose distance in features is still to be measured."""
        wanted = self.request.points
        return lacking_features(self._own_folder, self.request.image_ids, wanted) if self._features else {}

    def score(self) -> RunHeader:
        """Attack the source where some target lacks scores, and store them block by block. Returns the header of the
        source's own run."""
        own = self.headers[self.source.identity]
        if self.is_done():
            return read_header(self.site.store.transfer(own.run_id))
        config = self._execution_config()
        writers = {identity: self._writer(header, config) for identity, header in self.headers.items()}
        scores = [writer.missing(self.request.image_ids, self.request.points) for writer in writers.values()]
        missing = _union([*scores, self._lacking_features()])
        late = Cost()
        if missing:
            stream, before = self._stream(missing, config), Cost()
            for block in stream:
                account = Account(**cost_since(stream.cost, before), notes=tuple(stream.notes))  # type: ignore[arg-type]
                before = replace(stream.cost)
                self._keep(block, account, writers, config)
            late = Cost(**cost_since(stream.cost, before))  # type: ignore[arg-type]
        ended = {
            identity: writer.finish(late if identity == self.source.identity else None)
            for identity, writer in writers.items()
        }
        return ended[self.source.identity]

    def _writer(self, header: RunHeader, config: ExecutionConfig) -> RunWriter:
        """The run's writer; rows of networks that were trained again to other weights are set aside before."""
        folder = self.site.store.transfer(header.run_id)
        try:
            earlier = read_header(folder)
        except StoreError:
            earlier = header
        if of_other_weights(earlier, header):
            move_aside(self.site.store, folder, earlier.weights_sha256[:8])
        writer = RunWriter(folder, header.model_copy(update={"compute": config}))
        writer.add_images(self._images())
        return writer

    def _images(self) -> pl.DataFrame:
        manifest = self.cohort.manifest
        columns = [c for c in ("image_id", "label", "patient_id", "has_patient", "parent_image_id") if c in manifest]
        wanted = pl.DataFrame({"image_id": list(self.request.image_ids)})
        return wanted.join(manifest.select(columns), on="image_id", how="left", maintain_order="left")

    def _execution_config(self) -> ExecutionConfig:
        return choose_execution_config(
            self.source(),
            self.cohort.images(self.request.image_ids[:1])[0],
            architecture=self.source.architecture,
            precision=self.request.arm.precision,
            site=self.site,
            workload=self._workload,
        )

    def _stream(self, missing: Mapping[str, frozenset[Point]], config: ExecutionConfig) -> AttackStream:
        from advassay.attacks.engine.preflight import FIRST_IMAGES
        from advassay.attacks.stream import stream

        ids, arm = self.request.image_ids, self.request.arm
        steps = sum(steps_at(arm, points) for points in missing.values())
        own = self.headers[self.source.identity]
        seed = "" if self.source.described.get("primary") else f", seed {own.seed}"
        task = f"transfer from {own.cohort}, {own.architecture}, {own.train_size} training images{seed}, arm {own.arm}"
        return stream(
            self.source(),
            self._items(missing),
            arm,
            shape=config,
            keep_images=lambda image_id: True,
            progress=RelabelledProgress(self.site.progress, task, steps),
            expected_images=len(ids),
            examined=list(self._items(dict.fromkeys(ids[:FIRST_IMAGES], self.request.points))),
        )

    def _items(self, wanted: Mapping[str, frozenset[Point]]) -> Iterator[Item]:
        from advassay.attacks import Item

        for image_id, image, label in self.cohort.stream(list(wanted)):
            yield Item(image_id, image, label, wanted[image_id])

    def _keep(
        self, block: TrajectoryRows, account: Account, writers: Mapping[str, RunWriter], config: ExecutionConfig
    ) -> None:
        """Score a block's clean images, noise and last iterates by every target; the source's own run has the cost."""
        from advassay.attacks.scoring import score

        block = block.take(block.restart == 0)
        ids = list(dict.fromkeys(block.image_id.tolist()))
        clean = dict(zip(ids, self.cohort.images(ids), strict=True))
        keys = zip(block.image_id.tolist(), block.step_size.tolist(), block.epsilon.tolist(), strict=True)
        attacked = np.stack([block.final_images[key] for key in keys])
        unchanged = np.stack([clean[image_id] for image_id in block.image_id.tolist()])
        noise = self._noise(block, unchanged, attacked)
        sizes = self._sizes(block, unchanged, noise, attacked)
        place = np.array([ids.index(image_id) for image_id in block.image_id.tolist()])
        images = np.concatenate([np.stack(list(clean.values())), noise, attacked])
        if self._features:
            self._keep_features(block, images, place, config)
        for target in self.targets:
            logits = score(target(), images, config)
            of_clean, rest = logits[: len(ids)][place], logits[len(ids) :]
            path = np.stack([of_clean, rest[: len(block)], rest[len(block) :]], axis=1)
            rows = _rows(block, path, sizes)
            writers[target.identity].append(rows, account if target.identity == self.source.identity else None)

    def _keep_features(
        self, block: TrajectoryRows, images: np.ndarray, place: np.ndarray, config: ExecutionConfig
    ) -> None:
        """`images`: the block's clean ones, noise and attacked ones, row by row; `place` (row,): its clean image."""
        from advassay.attacks.penultimate_features import penultimate_features

        n = len(block)
        clean, pixels = images[: len(images) - 2 * n], self._reference[0]
        seen = penultimate_features(self.source(), images, config).astype(np.float64)
        own, noise, attacked = seen[: len(clean)], seen[len(clean) : -n], seen[-n:]
        labels = {image_id: int(label) for image_id, label in zip(block.image_id, block.label, strict=True)}
        ids = list(labels)
        reference = self._reference_features(config)
        columns: dict[str, Any] = {
            "image_id": block.image_id.astype(str), "step_size": block.step_size.astype(str), "epsilon": block.epsilon,
            "feature_noise": np.linalg.norm(noise - own[place], axis=1),
            "feature_attacked": np.linalg.norm(attacked - own[place], axis=1),
        }  # fmt: skip
        flat = clean.reshape(len(clean), -1).astype(np.float64)
        for name, here, there in (("feature", own, reference), ("pixel", flat, pixels)):
            same, other = self._distances(ids, list(labels.values()), here, there)
            columns[f"{name}_same"], columns[f"{name}_other"] = same[place], other[place]
        add_features(self._own_folder, pl.DataFrame(columns))

    @cached_property
    def _reference(self) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, np.ndarray]:
        """(pixels (image, value) float64, image_ids, labels, patients) of the first images of the sample."""
        ids = self.request.image_ids[:REFERENCE]
        images = self.cohort.images(ids)
        return images.reshape(len(ids), -1).astype(np.float64), ids, self.cohort.labels(ids), self._patients(ids)

    def _patients(self, ids: Sequence[str]) -> np.ndarray:
        """(image,) the patient of each image; its own id where it has none."""
        manifest = self.cohort.manifest
        of = dict(zip(manifest["image_id"].to_list(), manifest["patient_id"].to_list(), strict=True))
        return np.array([of[image_id] or image_id for image_id in ids], dtype=object)

    def _reference_features(self, config: ExecutionConfig) -> np.ndarray:
        from advassay.attacks.penultimate_features import penultimate_features

        if self._seen is None:
            images = self.cohort.images(self._reference[1])
            self._seen = penultimate_features(self.source(), images, config).astype(np.float64)
        return self._seen

    def _distances(
        self, ids: list[str], labels: list[int], here: np.ndarray, there: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean distance of each image (image, value) to reference images of its class, and of others, of other patients
        each (two images of one patient are alike whatever the network sees in them); NaN where there are none."""
        _, _, classes, patients = self._reference
        same, other = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
        for i, (own, label) in enumerate(zip(self._patients(ids), labels, strict=True)):
            distance = np.linalg.norm(there - here[i], axis=1)
            alike, apart = ((classes == label) & (patients != own), (classes != label) & (patients != own))
            same[i] = distance[alike].mean() if alike.any() else np.nan
            other[i] = distance[apart].mean() if apart.any() else np.nan
        return same, other

    def _noise(self, block: TrajectoryRows, clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
        import torch

        from advassay.attacks.random_init import noise_of_same_size

        drawn = [
            noise_of_same_size(torch.from_numpy(c), torch.from_numpy(a), self.request.arm.seed, str(image_id)).numpy()
            for image_id, c, a in zip(block.image_id, clean, attacked, strict=True)
        ]
        return np.stack(drawn)

    def _sizes(
        self, block: TrajectoryRows, clean: np.ndarray, noise: np.ndarray, attacked: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Column → (row, 3): sizes of nothing, the noise and the perturbation."""
        import torch

        from advassay.attacks.attack_step import measure_perturbation

        epsilon, still = torch.from_numpy(block.epsilon.astype(np.float32)), torch.from_numpy(clean)
        measured = [
            measure_perturbation(torch.from_numpy(images), still, epsilon, self.request.arm.norm).numpy()
            for images in (clean, noise, attacked)
        ]
        names = columns_of("perturbation")
        return {name: np.stack([each[:, i] for each in measured], axis=1) for i, name in enumerate(names)}


def _rows(block: TrajectoryRows, path: np.ndarray, sizes: Mapping[str, np.ndarray]) -> TrajectoryRows:
    """The block's rows as a target scored them; `path` (row, 3, class)."""
    rows, classes = len(block), path.shape[2]
    columns: dict[str, Any] = unset_columns(rows, TRANSFER_STEPS, classes)
    for name in ("image_id", "step_size", "epsilon", "restart", "label", "target", "ssim"):
        columns[name] = getattr(block, name)
    columns |= dict(sizes) | {"logits": path.astype(np.float32), "scored_float32": np.ones((rows, 3), bool)}
    return TrajectoryRows(**columns, flags={"nan": np.isnan(path).any(axis=(1, 2))})


def _union(missing: list[dict[str, frozenset[Point]]]) -> dict[str, frozenset[Point]]:
    """image → points that some target lacks, in the order of the sample."""
    found: dict[str, frozenset[Point]] = {}
    for lacking in missing:
        for image_id, points in lacking.items():
            found[image_id] = found.get(image_id, frozenset()) | points
    return found
