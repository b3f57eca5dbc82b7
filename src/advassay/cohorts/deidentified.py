"""The check that nothing which names a person went along with the images: what was met, and that none was carried."""

from __future__ import annotations

import polars as pl

from advassay.documents import Deidentification
from advassay.errors import CohortError
from advassay.sources import OpenSource
from advassay.sources.tables import is_id

_SHORTEST = 4
"""Characters of an id from which on it is looked for inside longer texts; shorter ones only as whole values."""


def check_deidentified(manifest: pl.DataFrame, images: pl.DataFrame, opened: OpenSource) -> Deidentification | None:
    """What identifying tags the source's files hold; None for a source that knows no such tags.

    manifest: as it will be written; images: image_id and the source's row. Every text of the manifest is compared with
    the original ids of its own image. Raises CohortError where one is found: the cohort is not written.
    """
    if opened.identifying is None:
        return None
    ids = [name for name in opened.rows.columns if is_id(name) or name in ("original_patient", "accession_number")]
    originals = opened.rows.select("row", *(pl.col(name).cast(pl.String).name.prefix("id ") for name in ids))
    texts = [name for name, kind in manifest.schema.items() if kind == pl.String]
    both = manifest.select("image_id", *(pl.col(name).name.prefix("text ") for name in texts))
    both = both.join(images.select("image_id", "row"), on="image_id").join(originals, on="row")
    found = sorted({name for name in texts for original in ids if _repeats(both, f"text {name}", f"id {original}")})
    if found:
        raise CohortError(
            f"carry: columns without original ids, got {', '.join(found)}.", "Leave them out of rules and of carry."
        )
    return Deidentification(files=opened.files.height, met=opened.identifying, columns_checked=tuple(sorted(texts)))


def _repeats(both: pl.DataFrame, text: str, original: str) -> bool:
    long = pl.col(original).str.len_chars() >= _SHORTEST
    inside = long & pl.col(text).str.contains(pl.col(original), literal=True)
    return bool(both.select(((pl.col(text) == pl.col(original)) | inside).fill_null(False).any()).item())
