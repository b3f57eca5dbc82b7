"""What a study is, in words: sources, cohorts, training, attack arms, figures. YAML ⇄ object; JSON schema.

Every field states its unit and meaning. Start reading here; spec/rule_spec.py, spec/source_spec.py,
spec/cohort_spec.py and spec/attack_spec.py hold the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from advassay.spec.analysis_plan import AnalysisPlan, Margins
from advassay.spec.attack_spec import Amplitude, Arm, Precision, StepSize, log_grid, step_size_name
from advassay.spec.base_model import Frozen
from advassay.spec.cohort_spec import AugmentationSpec, CohortSpec, Published, RegionSpec
from advassay.spec.rule_spec import NAME, Condition, DataPath, Name, Rules, Scalar
from advassay.spec.source_spec import (
    SOURCE_KINDS,
    DatasetSource,
    DicomSource,
    FolderSource,
    Hdf5Part,
    Hdf5Source,
    NpzSource,
    PhantomSource,
    ReportedSource,
    ReportSpec,
    SlideSource,
    Source,
    TableSource,
    names_patients,
)
from advassay.spec.tile_spec import SlideClasses, TileRules

MEASURED_MINIMUM_PX = {"inception_v3": 75}
"""Architecture → smallest side in pixels that it takes: a study of it is checked without loading PyTorch."""


class TrainingSpec(Frozen):
    """How a cohort becomes a classifier."""

    architecture: str = "inception_v3"
    """Any timm model name."""
    architectures: tuple[str, ...] | None = Field(None, min_length=1, exclude_if=lambda value: value is None)
    """timm model names, in place of `architecture`. The first is the cohort's main network; each of the others is
    trained on the same images with the same seeds and sizes, for `attack.transfer` alone."""
    weights: DataPath | None = None
    """Start weights (safetensors), relative to the data folder; null = random initialisation."""
    updates: int | None = Field(None, ge=1)
    """Optimiser updates, the same for every training size. Give this or epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the full training split (a size series keeps the number of updates that follows from it)."""
    batch_size: int = Field(32, ge=2, le=65_536)
    learning_rate: float = Field(1e-4, gt=0)
    """Of Adam; cosine decay with a short linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    class_weights: bool = True
    """Weight the loss by inverse class frequency."""
    augment: Literal["none", "light"] = "light"
    """light: horizontal flip (histology: also vertical, quarter turns), shift to 5 %, brightness, contrast to 10 %."""
    select_on: Literal["tuning", "validation"] = "tuning"
    """Which images choose the checkpoint; `validation` reproduces optimistic practice and warns."""
    evaluations: int = Field(5, ge=1, le=10_000)
    """How many times during training the tuning part is scored; the best checkpoint is kept."""
    patience: int | None = Field(None, ge=1)
    """Stop early after this many evaluations without improvement; null = never."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _first_is_main(cls, data: Any) -> Any:
        if (
            not isinstance(data, Mapping)
            or not isinstance(names := data.get("architectures"), list | tuple)
            or not names
        ):
            return data
        if len(set(map(str, names))) < len(names):
            raise ValueError(f"architectures: expected each name once, got {', '.join(map(str, names))}")
        if data.get("architecture", names[0]) != names[0]:
            raise ValueError(
                f"architecture: leave it out, or name the first of architectures ({names[0]}), "
                f"got {data['architecture']!r}"
            )
        return dict(data) | {"architecture": names[0]}

    @model_validator(mode="after")
    def _weights_fit(self) -> TrainingSpec:
        if self.weights is not None and len(self.architectures or ()) > 1:
            raise ValueError(
                "weights: null with several architectures (a file of start weights is of one), "
                f"got {self.weights!r} for {', '.join(self.architectures or ())}"
            )
        return self

    def of(self, architecture: str | None = None) -> TrainingSpec:
        """What one network is trained by: this with one architecture (None = the main one)."""
        update = {"architecture": architecture or self.architecture, "architectures": None}
        return self.model_copy(update=update)

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.updates is None) == (self.epochs is None):
            raise ValueError(
                f"training: give updates or epochs, one of them, got updates={self.updates}, epochs={self.epochs}"
            )
        return self

    def updates_for(self, training_images: int) -> int:
        """Optimiser updates of every network of a cohort; `training_images`: images of the full training split."""
        if self.updates is not None:
            return self.updates
        assert self.epochs is not None  # the spec holds one of the two
        return max(1, round(self.epochs * training_images / self.batch_size))


AUTO = "auto"
"""What an arm writes in place of its epsilons to have them found."""
USUAL_RANGE = (0.0005, 0.064)
"""Where undefended networks usually fall: stands in for amplitudes that are not found yet."""


class AttackSpec(Arm):
    """The attack section of a study: what all arms share, and the arms as differences from it."""

    arms: dict[Name, dict[str, Any]] = Field({"A": {}}, min_length=1)
    """Arm name → the fields of this section it changes. The first arm is the main one (the report's main curves).
    `epsilons: auto` in an arm finds its amplitudes on tuning images, before anything else is attacked: a grid in equal
    steps of ln ε from where 2 % are misclassified to where 98 % are, the same for every cohort."""
    series_arm: Name | None = None
    """The arm that attacks the training-size series; null = the first."""
    series_epsilons: tuple[Amplitude, ...] | None = None
    """Amplitudes at which it does; null = that arm's."""
    controls: bool = True
    """Run ε = 0, random noise, the cross-check with a stronger attack and twice the iterations beside every arm."""
    control_images: int = Field(16, ge=1)
    """Images of each arm's sample that the controls run on; scaled by --scale. The cross-check takes up to 120
    gradients of each, so in a small study it costs more than the attacks."""
    doubling_images: int = Field(32, ge=1)
    """Images of each arm's sample that are attacked for twice the iterations too, at the amplitude nearest to
    analysis.epsilon and, where that is cheap beside the run, one and two thirds up the grid; scaled by --scale. Of the
    arm that decides (analysis.arm), as many more at all amplitudes as question 3 needs, where the arm has as many."""
    doubling: Literal["sample"] | None = Field(None, exclude_if=lambda value: value is None)
    """sample: never more than `doubling_images`, so that question 3 may stay undecided. null = of the arm that decides,
    as many images as question 3 needs, which may take longer than the arm itself."""

    transfer: bool | None = Field(None, exclude_if=lambda value: not value)
    """Attack every network of a cohort (all architectures, seeds and training sizes) by the arm that decides, and score
    the attacked images, and random noise of the same size, by every network of the cohort. Needs two networks a cohort;
    null = false."""

    features: bool | None = Field(None, exclude_if=lambda value: not value)
    """Measure how far the attacked images of the arm that decides lie from the clean ones in the network's features
    (the input of its last layer), beside images of the same and of other classes; of the cohorts' main networks, with
    `transfer` of all. null = false."""

    range_images: int = Field(64, ge=8)
    """Tuning images of each cohort that `epsilons: auto` uses, at most; scaled by --scale."""
    range_points: int = Field(8, ge=3)
    """Amplitudes of the grid that `epsilons: auto` makes."""

    @property
    def auto_arms(self) -> tuple[str, ...]:
        """Arms whose amplitudes are still to be found."""
        return tuple(name for name, own in self.arms.items() if own.get("epsilons") == AUTO)

    def arm(self, name: str) -> Arm:
        """The arm as it runs: this section with the arm's own fields in place.

        An arm whose amplitudes are still to be found has a stand-in of as many, good for counting work only.
        """
        shared, own = self.model_dump(include=set(Arm.model_fields)), self.arms[name]
        if own.get("epsilons") == AUTO:
            own = own | {"epsilons": log_grid(*USUAL_RANGE, self.range_points)}
        return Arm(**(shared | own))

    @model_validator(mode="after")
    def _arms_hold(self) -> AttackSpec:
        for name in self.arms:
            try:
                arm = self.arm(name)
            except ValueError as error:
                raise ValueError(f"arms.{name}: {error}") from None
            if arm.targeted:
                raise ValueError(
                    f"arms.{name}.targeted: false in a study, which names no target classes, got true; "
                    "targets are given to advassay.attack and advassay.sweep"
                )
        if self.series_arm is not None and self.series_arm not in self.arms:
            raise ValueError(f"series_arm: one of {list(self.arms)}, got {self.series_arm!r}")
        return self


class FigureSpec(Frozen):
    epsilon: Amplitude = 0.02
    """Amplitude of figures 3b–3d and of figure 2."""
    gallery: bool | None = None
    """Keep a few clean and attacked images for figures 1 and 2; null = yes, but none of a DICOM source."""


_ARCHIVE = "${archive}"


def _with_archive(value: Any, folder: str | None) -> Any:
    """`value` with `folder` in place of ${archive} wherever a text starts with it."""
    if isinstance(value, dict):
        return {key: _with_archive(item, folder) for key, item in value.items()}
    if not isinstance(value, str) or not value.startswith(_ARCHIVE):
        return value
    if folder is None:
        raise ValueError(f"archive: a folder is needed for {value!r}, got none; give --set archive=FOLDER")
    return folder + value.removeprefix(_ARCHIVE)


class Study(Frozen):
    """A whole study. `advassay schema` prints this as JSON schema."""

    name: str = Field(pattern=NAME)
    title: str = ""
    seed: int = 0
    """Seed of selections and splits."""
    image_size_px: int = Field(256, ge=8, le=8192)
    """Side of every prepared image, unless a cohort says otherwise."""
    archive: DataPath | None = Field(None, exclude_if=lambda value: value is None)
    """Folder that a source's path (its reports' too) may start with, written ${archive}; relative to the data folder,
    but given as --set archive=FOLDER to the current one. Null once read: paths then hold the folder itself."""
    sources: dict[Name, Source] = {}
    cohorts: dict[Name, CohortSpec] = Field(min_length=1)
    training: TrainingSpec
    attack: AttackSpec = AttackSpec()
    analysis: AnalysisPlan = AnalysisPlan()
    """How the five questions are judged. Frozen in the store before the first attack; later changes are reported."""
    figures: FigureSpec = FigureSpec()

    @model_validator(mode="before")
    @classmethod
    def _archive_in_place(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("sources"), dict):
            return data
        if not isinstance(folder := data.get("archive"), str | None):
            return data  # the field's own rule says what is wrong
        sources = _with_archive(data["sources"], folder)
        if folder is not None and sources == data["sources"]:
            raise ValueError(f"archive: expected paths that start with {_ARCHIVE}, got none that {folder!r} is for")
        return data | {"archive": None, "sources": sources}

    @model_validator(mode="after")
    def _names_resolve(self) -> Study:
        for name, cohort in self.cohorts.items():
            if cohort.source not in self.sources:
                raise ValueError(f"cohorts.{name}.source: one of {sorted(self.sources)}, got {cohort.source!r}")
            source = self.sources[cohort.source]
            if cohort.scaling == "voi" and not source.states_window:
                kinds = " or ".join(kind.name for kind in SOURCE_KINDS.parts() if kind.spec.states_window)
                raise ValueError(f"cohorts.{name}.scaling: voi needs a source of kind {kinds}, got {source.kind}")
        return self

    @model_validator(mode="after")
    def _analysis_names_what_is_declared(self) -> Study:
        plan, arms = self.analysis, self.attack.arms
        if plan.arm is not None and plan.arm not in arms:
            raise ValueError(f"analysis.arm: one of {list(arms)}, got {plan.arm!r}")
        arm = plan.arm or next(iter(arms))
        names = [step_size_name(rule) for rule in self.attack.arm(arm).step_sizes]
        if plan.step_size is not None and step_size_name(plan.step_size) not in names:
            raise ValueError(f"analysis.step_size: one of arm {arm}'s, {names}, got {step_size_name(plan.step_size)!r}")
        return self

    def resolved_analysis(self) -> AnalysisPlan:
        """The analysis plan with its arm and step size named: the first declared ones where it leaves them open."""
        arm = self.analysis.arm or next(iter(self.attack.arms))
        rule = self.analysis.step_size
        first = self.attack.arm(arm).step_sizes[0]
        return self.analysis.model_copy(update={"arm": arm, "step_size": first if rule is None else rule})

    @model_validator(mode="after")
    def _transfer_has_networks(self) -> Study:
        more = (self.training.architectures or ())[1:]
        if more and not self.attack.transfer:
            raise ValueError(
                "training.architectures: one name, or attack.transfer: true, which the others are trained for; "
                f"got {', '.join(self.training.architectures or ())}"
            )
        untrained = [name for name, cohort in self.cohorts.items() if not cohort.is_trained_on]
        if self.attack.features and untrained:
            raise ValueError(
                f"attack.features: cohorts whose networks are trained here, not so: {', '.join(untrained)}"
            )
        if not self.attack.transfer:
            return self
        alone = [
            name for name, cohort in self.cohorts.items() if not more and cohort.seeds < 2 and not cohort.train_sizes
        ]
        if untrained or alone:
            raise ValueError(
                "attack.transfer: every cohort needs at least two networks that are trained here (training."
                "architectures, or seeds or train_sizes of the cohort), not so: "
                f"{', '.join(dict.fromkeys((*untrained, *alone)))}"
            )
        return self

    def transfer_arm(self) -> tuple[str, Arm]:
        """Name and rules of the attack whose images are tried on other networks: the deciding arm at its analysed step
        size, without restarts."""
        plan = self.resolved_analysis()
        assert plan.arm is not None
        assert plan.step_size is not None
        arm = self.attack.arm(plan.arm)
        return plan.arm, arm.model_copy(update={"step_sizes": (plan.step_size,), "restarts": 1})

    def with_epsilons(self, found: Mapping[str, Sequence[float]]) -> Study:
        """The study with `found` (arm → amplitudes) in place of what these arms declare."""
        arms = {n: own | ({"epsilons": list(found[n])} if n in found else {}) for n, own in self.attack.arms.items()}
        return self.model_copy(update={"attack": self.attack.model_copy(update={"arms": arms})})

    def keeps_gallery(self, cohort: str) -> bool:
        """Whether images of this cohort may be kept for figures: as asked, else as its kind of source says."""
        if self.figures.gallery is not None:
            return self.figures.gallery
        return self.sources[self.cohorts[cohort].source].shows_images

    def size_of(self, cohort: str) -> int:
        """Side in pixels of a cohort's prepared images."""
        return self.cohorts[cohort].image_size_px or self.image_size_px


__all__ = [
    "AnalysisPlan",
    "Arm",
    "AttackSpec",
    "AugmentationSpec",
    "CohortSpec",
    "Condition",
    "DatasetSource",
    "DicomSource",
    "FigureSpec",
    "FolderSource",
    "Hdf5Part",
    "Hdf5Source",
    "Margins",
    "NpzSource",
    "PhantomSource",
    "Precision",
    "Published",
    "RegionSpec",
    "ReportSpec",
    "ReportedSource",
    "Rules",
    "Scalar",
    "SlideClasses",
    "SlideSource",
    "Source",
    "StepSize",
    "Study",
    "TableSource",
    "TileRules",
    "TrainingSpec",
    "names_patients",
]  # fmt: skip
