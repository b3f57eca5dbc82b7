"""Prepare a cohort: index the source, select, split, and write images, manifest and preparation.json."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from advassay.checked_files import write_document, write_frame
from advassay.cohorts.augmentation import with_copies
from advassay.cohorts.balance import subsample
from advassay.cohorts.cohort_warnings import attribute_warnings, enlarged_warning, few_images_warning, patient_warnings
from advassay.cohorts.decoded_images import DecodeCache, sample_by_header, samples_by_header
from advassay.cohorts.image_preparation import PixelRule, choose_channels, used_bits
from advassay.cohorts.image_shards import check_shards, write_shards
from advassay.cohorts.preparation_json import described, document_in, is_current, make_document, request_hash, state_of
from advassay.cohorts.prepared_cohort import order_by_draw, read_manifest
from advassay.cohorts.privacy_checks import check_deidentified, check_key
from advassay.cohorts.regions.apply_regions import COLUMNS
from advassay.cohorts.regions.review_lists import ReviewLists, read_lists
from advassay.cohorts.render_images import ImagePipeline, Spool, render_pngs
from advassay.cohorts.selection import odd_values, select, values_that_never_occur
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import ROLES, assign_roles
from advassay.errors import AdvassayWarning, CohortError, DamagedError
from advassay.flow_chart import charted_so_far
from advassay.progress import Progress, Silent
from advassay.sources import Index, OpenSource, append_private, open_source
from advassay.sources.file_paths import require_files
from advassay.sources.image_index import located
from advassay.sources.pseudonyms import PRIVATE, headers_beside
from advassay.sources.source_opener import kind_of_source
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import Source, names_patients
from advassay.store_documents import Preparation
from advassay.store_layout import MANIFEST, PREPARATION


def prepare(
    name: str,
    spec: CohortSpec,
    source: Source,
    *,
    size_px: int,
    seed: int,
    folder: Path,
    data: Path | None,
    key: bytes,
    private: Path,
    progress: Progress | None = None,
) -> Preparation:
    """Make the cohort `name` in `folder`: images-*.parquet, manifest.parquet and, last, preparation.json.

    Idempotent: where `folder` holds the same request (spec, source, size, seed) of the same source, only the
    descriptive fields of the document are renewed. `key` makes pseudonyms and enters neither the identity nor the
    split. `private`: the file outside the store that keeps paths and original ids of the images that are in, and where
    to find those left out. Raises CohortError where no cohort can be formed (its message has the flow of counts) and
    where a table's cohort is there under another key, SourceError where the source cannot be read.
    """
    progress = progress or Silent()
    request, state = request_hash(spec, source, size_px, seed), state_of(spec, source, data)
    found = _prepared(name, folder)
    if found is not None and is_current(found, request, state):
        if names_patients(source):
            check_key(name, folder, private, key)
        _warn_of_earlier_reading(found, name, source)
        return _renewed(found, name, spec, folder)
    opened = open_source(
        spec.source, source, data, scaling=spec.scaling, kept_headers=headers_beside(private), progress=progress
    )
    flow = SelectionCounts(opened.rows.height + opened.left_out.height)
    asked = _PrepareRequest(name, spec, source, size_px, seed, folder, data, key, private, progress, request, state)
    spool = _spool(opened, spec, folder)
    try:
        return _prepared_anew(asked, opened, flow, spool)
    except CohortError as problem:
        problem.flow = tuple(charted_so_far(name, flow.candidates, flow.steps))
        raise
    finally:
        if spool is not None:
            spool.close()


@dataclass(frozen=True)
class _PrepareRequest:
    """What `prepare` was called with, and what that hashes to."""

    name: str
    spec: CohortSpec
    source: Source
    size_px: int
    seed: int
    folder: Path
    data: Path | None
    key: bytes
    private: Path
    progress: Progress
    request: str
    state: str | None


def _prepared_anew(
    asked: _PrepareRequest, opened: OpenSource, flow: SelectionCounts, spool: Spool | None
) -> Preparation:
    """`prepare` without the look at what is already there; `flow` counts along."""
    name, spec, size_px, folder = asked.name, asked.spec, asked.size_px, asked.folder
    flow.warnings += values_that_never_occur(opened.rows, spec)
    flow.warnings += odd_values(opened.rows, spec)
    lists = ReviewLists() if spec.region is None else read_lists(spec.region, asked.data)
    candidates = _selected(opened, spec, flow)
    require_files(opened, candidates["row"])
    spooled = (spool, PixelRule(size_px, spec.channels or 1, 16, spec.scaling, spec.resize)) if spool else None
    decoding = DecodeCache(opened, spec, asked.key, lists, asked.progress, spooled)
    if samples_by_header(opened, spec):
        candidates = sample_by_header(candidates, spec, asked.seed, decoding, flow)
    decoding.read(candidates)
    indexed = decoding.index
    flow.left_out("decoding", indexed.left_out["reason"].to_list())
    append_private(asked.private, _left_out(name, opened, indexed, flow), cohort=name)
    _need_any(flow)
    images = _chosen_images(decoding.images(candidates, flow), spec, asked.seed, flow)
    seen = images.join(indexed.largest, on="row", maintain_order="left")
    rule = _pixel_rule(seen, spec, size_px, flow)
    flow.warnings += _low_dynamic_range_warning(seen, spec)
    originals = _with_columns_of_source(images, opened)
    flow.warnings += patient_warnings(originals, spec)
    flow.warnings += attribute_warnings(originals, spec)
    flow.warnings += _sizes(originals, spec, size_px)
    flow.warnings += opened.remarks(images["row"].to_list())
    made = [*(COLUMNS if spec.region else ()), *(["copy_number"] if spec.augmentation else [])]
    columns = dict.fromkeys([*indexed.manifest.columns, "label", "class_name", "role", "parent_image_id", *made])
    manifest = images.select(*columns).drop("split", strict=False)
    if unkept := sorted(indexed.not_carried.keys() - {"split"}):
        flow.warnings.append(f"Columns of the source not carried along: {', '.join(unkept)} (carry: names more).")
    refused = [f"{name} ({indexed.not_carried[name]})" for name in spec.carry if name in indexed.not_carried]
    if refused:
        flow.warnings.append(f"carry: asked for, but not carried: {', '.join(refused)}.")
    manifest = _in_order(manifest.drop("row"))
    deidentified = check_deidentified(manifest, images, opened)
    document = make_document(name, spec, asked.source, manifest, rule, flow, asked.request, asked.state, deidentified)
    (folder / PREPARATION).unlink(missing_ok=True)
    kept = indexed.private.filter(pl.col("image_id").is_in(images["image_id"].to_list()))
    append_private(
        asked.private, pl.concat([kept, _left_out(name, opened, indexed, flow)], how="diagonal"), cohort=name
    )
    rows = dict(images.select("image_id", "row").iter_rows())
    recipe = ImagePipeline(rule, spec.augmentation, asked.seed)
    images_made = render_pngs(opened, manifest, rows, recipe, name, asked.progress, spool)
    write_shards(folder, manifest, images_made, list(spec.classes))
    write_frame(folder / MANIFEST, manifest)
    return _write(document, folder)


def _prepared(name: str, folder: Path) -> Preparation | None:
    """What `folder` holds, if it is whole; None, with a warning, where a file of it is damaged."""
    try:
        found = document_in(folder)
        if found is not None:
            check_shards(folder, read_manifest(folder)["image_id"].to_list())
        return found
    except DamagedError as error:
        warnings.warn(f"cohort {name} is prepared anew. {error.problem}", AdvassayWarning, stacklevel=3)
        return None


def _spool(opened: OpenSource, spec: CohortSpec, folder: Path) -> Spool | None:
    """Where images are prepared while they are decoded: where nearly all that are decoded stay, and are shown whole."""
    return Spool(folder.parent) if opened.draw_column is not None and spec.region is None else None


def _warn_of_earlier_reading(found: Preparation, name: str, source: Source) -> None:
    """A cohort whose files an earlier version read by other rules stays: its networks and runs go by its identity."""
    kind = kind_of_source(source)
    if found.dicom_reading != kind.reading:
        warnings.warn(
            f"cohort {name} was prepared by an earlier version, which read {kind.earlier_reading}: it is kept; prepare "
            "into another --store to apply the present rules",
            AdvassayWarning,
            stacklevel=3,
        )


def _selected(opened: OpenSource, spec: CohortSpec, flow: SelectionCounts) -> pl.DataFrame:
    """The rows of the source that the rules let in, with label and class_name."""
    if opened.left_out.height:
        flow.left_out("source rows", opened.left_out["reason"].to_list())
    return select(opened.rows, spec, flow)


def _chosen_images(images: pl.DataFrame, spec: CohortSpec, seed: int, flow: SelectionCounts) -> pl.DataFrame:
    """The images that are in, with role, and their augmented copies."""
    _need_any(flow)
    images = subsample(images, spec, seed, flow)
    _need_any(flow)
    if spec.augmentation is not None and spec.augmentation.sides == "before-split":
        return assign_roles(with_copies(images, spec, seed, flow), spec, seed, flow)
    return with_copies(assign_roles(images, spec, seed, flow), spec, seed, flow)


def _left_out(name: str, opened: OpenSource, indexed: Index, flow: SelectionCounts) -> pl.DataFrame:
    """Rows for the private table: which entries of the source are out, where they lie, and why."""
    lost = pl.concat([frame.select("row", left_out="reason") for frame in (opened.left_out, indexed.left_out)])
    lost = pl.concat([lost, flow.rows_out])
    files = opened.files.select("row", located(opened).alias("path"), "original_patient")
    ids = indexed.manifest.select("row", "image_id")
    lost = lost.join(files, on="row", how="left").join(ids, on="row", how="left")
    return lost.with_columns(source=pl.lit(opened.name), cohort=pl.lit(name)).select(*PRIVATE)


def _low_dynamic_range_warning(images: pl.DataFrame, spec: CohortSpec) -> list[str]:
    """A warning where the cohort uses less than half of what its files can store (12-bit data in 16-bit files)."""
    if spec.scaling != "full-range":
        return []
    return [
        f"The {bits}-bit images hold values of {used} bits only (up to {largest}): at scaling: full-range they are "
        "prepared nearly black; scaling: percentile stretches each image."
        for bits, largest in images.group_by("bits").agg(pl.col("largest").max()).sort("bits").iter_rows()
        if (used := used_bits(largest)) < bits
    ]


def _sizes(images: pl.DataFrame, spec: CohortSpec, size_px: int) -> list[str]:
    """Warnings where a part has few images of a class, or where images are enlarged."""
    tally = dict(((role, name), n) for role, name, n in images.group_by("role", "class_name").len().iter_rows())
    counts = {role: {name: tally.get((role, name), 0) for name in spec.classes} for role in ROLES}
    enlarged = None if spec.region else enlarged_warning(images["height"].to_list(), images["width"].to_list(), size_px)
    return [told for told in (few_images_warning(counts), enlarged) if told is not None]


def _need_any(flow: SelectionCounts) -> None:
    if flow.kept < 1:
        left = "; ".join(f"{item.reason}: {item.count}" for item in flow.reasons())
        raise CohortError(
            f"classes: rules that some image satisfies; none is left of {flow.candidates} candidates ({left}).",
            "Compare the rules with the values in the source's columns.",
        )


def _pixel_rule(images: pl.DataFrame, spec: CohortSpec, size_px: int, flow: SelectionCounts) -> PixelRule:
    depths = sorted(images["bits"].unique())
    if len(depths) > 1:
        flow.warnings.append("8- and 16-bit images are mixed: all are prepared at 16 bit.")
    return PixelRule(size_px, choose_channels(images, spec, flow), int(depths[-1]), spec.scaling, spec.resize)


def _with_columns_of_source(images: pl.DataFrame, opened: OpenSource) -> pl.DataFrame:
    """`images` that are no copies, with all columns of the source: private, for what is said about them."""
    own = images.filter(pl.col("parent_image_id").is_null())
    return own.join(opened.rows.select("row", pl.exclude("row", *images.columns)), on="row", how="left")


def _in_order(manifest: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted by role and order; `order` is drawn from content alone, so it is the same in every study."""
    parts = []
    for role in ROLES:
        part = manifest.filter(pl.col("role") == role)
        ordered = order_by_draw(part["image_id"].to_list(), part["label"].to_list(), seed=0)
        ranks = {image: rank for rank, image in enumerate(ordered)}
        order = pl.Series("order", [ranks[image] for image in part["image_id"]], dtype=pl.Int64)
        parts.append(part.with_columns(order).sort("order"))
    own = ["image_id", "label", "class_name", "patient_id", "has_patient", "role", "order", "parent_image_id"]
    return pl.concat(parts).select(*own, pl.exclude(own))


def _renewed(found: Preparation, name: str, spec: CohortSpec, folder: Path) -> Preparation:
    renewed = found.model_copy(update=described(name, spec))
    return found if renewed == found else _write(renewed, folder)


def _write(document: Preparation, folder: Path) -> Preparation:
    write_document(folder / PREPARATION, document)
    return document
