"""One run, one network: rows of a network that was trained again to other weights make room for new ones."""

from __future__ import annotations

import warnings
from contextlib import suppress
from itertools import count

from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.layout import HEADER, Store, flush, make_folder
from advassay.records import RunHeader, read_header
from advassay.records.gallery import remove_examples
from advassay.records.writer import of_other_weights


def set_aside_other_network(store: Store, header: RunHeader) -> str:
    """Move a run that is of other weights than `header`'s out of records/, with its re-runs and gallery images.

    It lies in STORE/superseded/ then, and the run begins anew. Returns the sentence that says so, "" where nothing was
    moved. A header that cannot be read is the writer's business.
    """
    try:
        earlier = read_header(store.run(header.run_id))
    except StoreError:
        return ""
    if not of_other_weights(earlier, header):
        return ""
    said = (
        f"The network was trained again to other weights ({earlier.weights_sha256[:8]}… before, "
        f"{header.weights_sha256[:8]}… now): the run began anew. The earlier rows are in superseded/."
    )
    moved = {one.run_id: one for one in _reruns(store, header.run_id)} | {header.run_id: earlier}
    with suppress(DamagedError):  # a damaged gallery is written anew as a whole
        remove_examples(store.gallery, lambda example: example.run_id in moved)
    for run_id, one in moved.items():  # the declared run last: by its weights a call that was stopped goes on
        _move(store, run_id, one.weights_sha256[:8])
    warnings.warn(f"{header.cohort}, arm {header.arm}: {said}", AdvassayWarning, stacklevel=3)
    return said


def _reruns(store: Store, run_id: str) -> list[RunHeader]:
    found = []
    for path in sorted(store.records.glob(f"*/{HEADER}")):
        try:
            header = read_header(path.parent)
        except StoreError:
            continue
        if header.rerun_of == run_id:
            found.append(header)
    return found


def _move(store: Store, run_id: str, weights: str) -> None:
    make_folder(store.superseded)
    names = (f"{run_id}-{weights}" + (f"-{number}" if number else "") for number in count())
    place = next(store.superseded / name for name in names if not (store.superseded / name).exists())
    store.run(run_id).rename(place)
    flush(store.superseded)
    flush(store.records)
