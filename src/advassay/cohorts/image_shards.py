"""Prepared images on disk: Parquet shards in the Hugging Face `datasets` image layout, read back at random.

A shard has the column `image`: struct<bytes: binary, path: string> with lossless PNG bytes, the manifest's columns
beside it, and the schema metadata `huggingface` that makes `datasets` recognise Image and ClassLabel. Row groups
are small, so that fetching one image reads few.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from advassay.checked_files import BROKEN, damaged
from advassay.cohorts.preparation_json import HEALED
from advassay.errors import StoreError
from advassay.parquet_limits import check_pages
from advassay.store_layout import writing

PATTERN = "images-*.parquet"
ROW_GROUP = 32
MOST_BYTES = 256 * 2**20
CACHED_BYTES = 256 * 2**20

DELETED = "Delete the file; `advassay prepare` with the same study and --store prepares the cohort anew."
"""What to do where images cannot be read: `prepare` looks at their ids only, and would keep the file."""

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_shards(
    folder: Path,
    manifest: pl.DataFrame,
    pngs: Iterable[bytes],
    class_names: Sequence[str],
    most_bytes: int = MOST_BYTES,
) -> int:
    """Write images-00000.parquet, … with one row per manifest row, in its order; returns the number of shards.

    `pngs`: one PNG per manifest row. A shard ends once its images exceed `most_bytes`. Each shard appears whole or
    not at all; shards of an earlier preparation are removed first.
    """
    for old in folder.glob(PATTERN):
        old.unlink()
    columns = _arrow(manifest)
    schema = _schema(columns.schema, class_names)
    supply, first, shard = iter(pngs), 0, 0
    while first < manifest.height:
        with writing(folder / f"images-{shard:05d}.parquet") as beside:
            first = _write_shard(beside, schema, columns, supply, first, most_bytes)
        shard += 1
    return shard


def _write_shard(
    path: Path, schema: pa.Schema, columns: pa.Table, pngs: Iterator[bytes], first: int, most_bytes: int
) -> int:
    size = 0
    options = {"use_dictionary": _texts(schema), "write_page_checksum": True}
    with pq.ParquetWriter(path, schema, compression={"image.bytes": "NONE"}, **options) as writer:
        while first < columns.num_rows and size < most_bytes:
            part = columns.slice(first, ROW_GROUP)
            images = [next(pngs) for _ in range(part.num_rows)]
            names = [f"{image}.png" for image in part["image_id"].to_pylist()]
            image = pa.StructArray.from_arrays([pa.array(images, pa.binary()), pa.array(names)], fields=list(IMAGE))
            writer.write_table(pa.table([image, *part.columns], schema=schema))
            first, size = first + part.num_rows, size + sum(map(len, images))
    return first


def _arrow(manifest: pl.DataFrame) -> pa.Table:
    table = manifest.to_arrow()
    plain = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(plain))


def _schema(columns: pa.Schema, class_names: Sequence[str]) -> pa.Schema:
    features: dict[str, dict[str, object]] = {"image": {"_type": "Image"}}
    for field in columns:
        features[field.name] = {"dtype": _datasets_name(field.type), "_type": "Value"}
    features["label"] = {"names": list(class_names), "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("image", IMAGE), *columns], metadata=metadata)


def _datasets_name(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _texts(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_string(field.type) and field.name != "image_id"]


def check_shards(folder: Path, image_ids: Sequence[str]) -> None:
    """Raise DamagedError unless the shards in `folder` hold these images in this order; pixels are not read."""
    found = [image for place in sorted(folder.glob(PATTERN)) for image in _shard_ids(place)]
    if found != list(image_ids):
        raise damaged(folder / PATTERN, f"{len(image_ids)} images of the manifest are needed, in its order", HEALED)


def _shard_ids(path: Path) -> list[str]:
    try:
        check_pages(path)
        return pq.read_table(path, columns=["image_id"], page_checksum_verification=True, partitioning=None)[
            "image_id"
        ].to_pylist()
    except BROKEN as error:
        raise damaged(path, f"it cannot be read as Parquet ({type(error).__name__})", HEALED) from None


def damaged_shards(folder: Path) -> list[Path]:
    """Shards in `folder` of which some page is not as it was written, or that cannot be read."""
    return [path for path in sorted(folder.glob(PATTERN)) if not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    try:
        check_pages(path, checksums=True)
        return IMAGE.equals(pq.read_schema(path).field("image").type)
    except BROKEN:
        return False


def keep_images(folder: Path, image_ids: Collection[str]) -> None:
    """Write the shards in `folder` anew without the images that are not named; a shard without any goes.

    Raises DamagedError for a shard that cannot be read (`damaged_shards`); those before it are written then.
    """
    for path in sorted(folder.glob(PATTERN)):
        try:
            check_pages(path)
            rows = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        except BROKEN as error:
            raise damaged(path, f"it cannot be read as Parquet ({type(error).__name__})", HEALED) from None
        kept = rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(sorted(image_ids), pa.string())))
        if not kept.num_rows:
            path.unlink()
        elif kept.num_rows < rows.num_rows:
            options = {"use_dictionary": _texts(rows.schema), "write_page_checksum": True}
            with writing(path) as beside:
                pq.write_table(kept, beside, row_group_size=ROW_GROUP, compression={"image.bytes": "NONE"}, **options)


class Shards:
    """PNG bytes by image_id. Opens files when first asked; keeps recently used row groups, up to `cached_bytes`."""

    def __init__(self, folder: Path, cached_bytes: int = CACHED_BYTES) -> None:
        self._paths = sorted(folder.glob(PATTERN))
        self._files: dict[int, pq.ParquetFile] = {}
        self._places: dict[str, tuple[int, int, int]] | None = None
        self._cache: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self._cached = 0
        self._most = cached_bytes

    def png(self, image_id: str) -> bytes:
        """The stored PNG of one image. Raises StoreError for an image_id the cohort does not have."""
        if self._places is None:
            self._places = dict(self._all_places())
        if image_id not in self._places:
            raise StoreError(f"image_ids: images of this cohort, got {image_id!r}.")
        shard, group, place = self._places[image_id]
        return self._group(shard, group)[place]

    def _all_places(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        for shard in range(len(self._paths)):
            file = self._file(shard)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["image_id"])["image_id"].to_pylist()
                yield from ((image, (shard, group, place)) for place, image in enumerate(ids))

    def _file(self, shard: int) -> pq.ParquetFile:
        if shard not in self._files:
            try:
                check_pages(self._paths[shard], ("image", "image_id"))
            except BROKEN as error:
                raise damaged(
                    self._paths[shard], f"it cannot be read as Parquet ({type(error).__name__})", DELETED
                ) from None
            self._files[shard] = pq.ParquetFile(self._paths[shard], memory_map=True, page_checksum_verification=True)
        return self._files[shard]

    def _group(self, shard: int, group: int) -> list[bytes]:
        key = (shard, group)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        try:
            images = self._file(shard).read_row_group(group, columns=["image.bytes"])["image"].to_pylist()
        except BROKEN as error:
            raise damaged(
                self._paths[shard],
                f"images of it cannot be read ({type(error).__name__})",
                DELETED,
            ) from None
        self._cache[key] = [image["bytes"] for image in images]
        self._cached += sum(map(len, self._cache[key]))
        while self._cached > self._most and len(self._cache) > 1:
            self._cached -= sum(map(len, self._cache.popitem(last=False)[1]))
        return self._cache[key]

    def __getstate__(self) -> dict[str, object]:
        """Without open files and cache: a loader's worker process opens its own."""
        return self.__dict__ | {"_files": {}, "_cache": OrderedDict(), "_cached": 0}
