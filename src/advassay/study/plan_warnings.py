"""What can be said about a cohort before it is prepared: its numbers, its files, its image sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advassay.specs import CohortSpec, Study

if TYPE_CHECKING:
    from advassay.cohorts.metadata import Selection
    from advassay.sources import OpenSource


def selection_warnings(spec: CohortSpec, size_px: int, opened: OpenSource, selected: Selection) -> Iterator[str]:
    """What rules, counts and files of one cohort say. Raises SourceError where none of its files exists."""
    from advassay.cohorts.sample_size import enlarged_warning
    from advassay.sources.image_sizes import declared_sizes
    from advassay.sources.path_check import require_files

    yield from selected.flow.warnings
    rows = selected.frame["row"]
    lost = require_files(opened, rows)
    if lost is not None:
        yield f"{lost.count:,} of {lost.files:,} image files are missing; the first missing one is {lost.first}."
    if spec.region is None and (sizes := declared_sizes(opened, rows)):
        heights, widths = zip(*sizes, strict=True)
        if (told := enlarged_warning(heights, widths, size_px)) is not None:
            yield told


def network_warnings(study: Study) -> dict[str, str]:
    """Cohort → a sentence about pixels its network never sees, of each cohort with such pixels."""
    from advassay.training.unseen_pixels import unseen_pixels

    architecture = study.training.architecture
    told = {}
    for name in study.cohorts:
        size = study.size_of(name)
        if (unseen := unseen_pixels(architecture, size)) is None:
            continue
        sides = " or ".join(str(side) for side in unseen.seen_whole)
        told[name] = (
            f"{architecture} never sees {unseen.rows} rows and {unseen.columns} columns at the edges of {size} px "
            f"images: its strides leave them over." + (f" image_size_px: {sides} has none." if sides else "")
        )
    return told
