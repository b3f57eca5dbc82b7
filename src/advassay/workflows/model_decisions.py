"""Labels of images that have none: the model's own decisions on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from advassay.identity import ID_LENGTH
from advassay.workflows.image_source import EvaluatedImages, made_folder

Decide = Callable[[np.ndarray], np.ndarray]
"""Prepared images, float32 (image, channel, height, width) in [0, 1] → the model's decisions, int64 (image,)."""


@contextmanager
def labelled_by_model(
    images: EvaluatedImages,
    decide: Decide,
    class_names: Sequence[str],
    cohort: Mapping[str, Any],
    size_px: int,
    store: Path,
) -> Iterator[EvaluatedImages]:
    """The same images with the model's own decisions as labels, for as long as they are prepared.

    They are prepared once without labels, so that the model decides on exactly what is attacked. `decide` gives the
    index of the class of prepared images; `cohort`: fields of the cohort that say how images are prepared.
    """
    table: pl.DataFrame = images.columns["table"]
    with TemporaryDirectory(prefix=f".{store.name}-", dir=made_folder(store.parent)) as parent:
        root = Path(parent)
        (root / "all").mkdir()
        (root / "all" / "images").symlink_to(images.data / images.source["images"], target_is_directory=True)
        table.with_columns(label=pl.lit("image")).write_parquet(root / "all" / "table.parquet")
        decided = _decisions(images.name, decide, cohort, size_px, root)
        named = table.join(decided, on="image", how="inner").with_columns(
            label=pl.col("decision").replace_strict(dict(enumerate(class_names)), return_dtype=pl.String)
        )
        named = named.drop("decision")
        folder = f"labels-{hashlib.sha256(named.write_csv().encode()).hexdigest()[:ID_LENGTH]}"
        (root / "all").rename(root / folder)
        named.write_parquet(root / folder / "table.parquet")
        source = {"kind": "table", "path": f"{folder}/table.parquet", "images": f"{folder}/images"}
        rest = {name: value for name, value in images.columns.items() if name != "table"}
        rules = {name: {"label": [name]} for name in class_names}
        yield replace(images, source=source, data=root, classes=rules, columns=rest)


def _decisions(name: str, decide: Decide, cohort: Mapping[str, Any], size_px: int, root: Path) -> pl.DataFrame:
    """image (as the table names it) and decision, of every image that can be prepared."""
    from advassay.cohorts import open_cohort, prepare
    from advassay.sources.pseudonyms import read_private
    from advassay.spec.cohort_spec import CohortSpec
    from advassay.spec.source_spec import TableSource

    source = TableSource(kind="table", path="all/table.parquet", images="all/images")
    both = {"image": {"label": ["image"]}, "none": {"label": ["none"]}}
    spec = CohortSpec.model_validate({"source": name, "classes": both, "split": "none", **cohort})
    private = root / "private.parquet"
    prepare(
        name, spec, source, size_px=size_px, seed=0, folder=root / "cohort", data=root, key=bytes(16), private=private
    )
    prepared = open_cohort(root / "cohort")
    ids = prepared.ids("validation")
    decisions = [decide(prepared.images(ids[start : start + 64])) for start in range(0, len(ids), 64)]
    found = pl.DataFrame({"image_id": ids, "decision": np.concatenate(decisions)})
    places = read_private(private).filter(pl.col("left_out").is_null()).select("image_id", "path")
    prefix = f"{root / 'all' / 'images'}/"
    return found.join(places, on="image_id").select(image=pl.col("path").str.strip_prefix(prefix), decision="decision")
