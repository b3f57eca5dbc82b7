"""The streaming face: images in, blocks of finished rows out, by the stream that runs an attack's update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from advassay.attacks.engine.preflight import FIRST_IMAGES, PreflightCache
from advassay.attacks.suite.search_stream import SearchStream
from advassay.attacks.trajectory_stream import AttackStream, Item, computing, no_images
from advassay.classifier import Classifier
from advassay.progress import Progress, Silent
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import PGD, Arm, step_size_name
from advassay.store_documents import ExecutionConfig

__all__ = ["FIRST_IMAGES", "AttackStream", "Item", "computing", "no_images", "stream", "stream_of"]


def stream_of(rules: Arm | PGD) -> type[AttackStream]:
    """The stream that runs such an attack: trajectories, or searches."""
    return SearchStream if UPDATE_RULES.get(rules.update).searches else AttackStream


def stream(
    classifier: Classifier,
    items: Iterable[Item],
    arm: Arm,
    *,
    shape: ExecutionConfig,
    keep_images: Callable[[str], bool] = no_images,
    keep_iterates: bool = False,
    progress: Progress | None = None,
    expected_images: int | None = None,
    first_success_only: bool = False,
    known: PreflightCache | None = None,
    examined: Sequence[Item] = (),
) -> AttackStream:
    """Attack every item at its points with the arm's update; iterate the result for blocks of rows.

    For one `shape`, no recorded number depends on the order of items, their neighbours or where a run was interrupted
    (with `first_success_only`: no success does; flags about the whole run stand from where they arose).
    Under "fast32" and "fast" that holds for one band to begin with and the same rewrites. Both are found on the first
    images where `known` has none; `.known` says what they are once the first block has come, so that a run that goes
    on later can hand them in. It also spares the next stream over the same network its rewriting and examination.
    `keep_images(image_id)` says whose last iterates to hand back, with `keep_iterates` every iterate of theirs (of
    searches, which have none, only the last). `first_success_only` ends a row at its first
    confirmed success (later iterates are NaN, flag `retired`): much cheaper, and enough for success="any".
    `examined`: images that the network is examined and measured on instead of the first items, so that a run that goes
    on says the same of its network. `expected_images` (by default what `items` says of its length) sets how large a
    share the audit takes.
    Raises AttackError (InputError, EpsilonError, ClassifierError) before the first step where the result would mean
    nothing.
    """
    rules: dict[str, float | str] = {step_size_name(rule): rule for rule in arm.step_sizes}
    task = f"attack {arm.update}, {arm.loss}"
    return stream_of(arm)(
        classifier,
        items,
        arm,
        rules,
        shape=shape,
        precision=arm.precision,
        keep_images=keep_images,
        keep_iterates=keep_iterates,
        progress=progress or Silent(),
        task=task,
        expected_images=expected_images,
        first_success_only=first_success_only,
        known=known,
        examined=examined,
    )
