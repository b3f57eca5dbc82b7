"""Who was taken out of a store: a list of salted hashes, by which images of these people are kept from coming back."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence

import polars as pl

from advassay.checked_files import read_model, write_document
from advassay.store_documents import ForgottenDocument, ForgottenList
from advassay.store_layout import Store

HEALED = (
    "Restore it from a copy. Without one, delete it and take the people out again (`advassay forget`), else another "
    "store or a preparation can bring them back."
)


class ForgottenPeople:
    """What a store's forgotten.json says, asked image by image."""

    def __init__(self, lists: Sequence[ForgottenList]) -> None:
        self.lists = tuple(lists)
        self._known = [(one.salt, frozenset(one.images), frozenset(one.patients)) for one in lists]

    def __bool__(self) -> bool:
        return bool(self._known)

    def images(self, table: pl.DataFrame) -> set[str]:
        """image_ids of a table (image_id; where there are, patient_id and parent_image_id) of people who were taken
        out: by image, by the image that a copy was made from, or by patient.
        """
        if not self or not table.height:
            return set()
        return set(table.filter(self._of(table))["image_id"].drop_nulls())

    def _of(self, table: pl.DataFrame) -> pl.Series:
        found = pl.Series("forgotten", [False] * table.height)
        for name, of_patients in (("image_id", False), ("parent_image_id", False), ("patient_id", True)):
            if name in table.columns:
                gone = [text for text in table[name].drop_nulls().unique() if self._has(text, of_patients)]
                found |= table[name].is_in(gone).fill_null(False)
        return found

    def _has(self, text: str, of_patients: bool) -> bool:
        return any(
            hashed(salt, text) in (patients if of_patients else images) for salt, images, patients in self._known
        )


def hashed(salt: str, text: str) -> str:
    """As forgotten.json keeps an image_id or a pseudonym."""
    return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()[:32]


def forgotten_people(store: Store) -> ForgottenPeople:
    """Who was taken out of the store. Raises DamagedError where the list cannot be read."""
    try:
        return ForgottenPeople(read_model(store.forgotten, ForgottenDocument, HEALED).lists)
    except FileNotFoundError:
        return ForgottenPeople(())


def keep_forgotten(store: Store, image_ids: Collection[str], patients: Collection[str]) -> None:
    """Add images and patients to the store's list. Written before anything is removed: a removal that is stopped is
    then finished by whatever command comes next.
    """
    known = forgotten_people(store).lists
    own = known[0] if known else ForgottenList(salt=secrets.token_hex(16))
    added = {
        "images": tuple(sorted({*own.images, *(hashed(own.salt, image) for image in image_ids)})),
        "patients": tuple(sorted({*own.patients, *(hashed(own.salt, patient) for patient in patients)})),
    }
    write_document(store.forgotten, ForgottenDocument(lists=(own.model_copy(update=added), *known[1:])))


def join_forgotten(store: Store, other: Store) -> ForgottenPeople:
    """Bring another store's list into this one's. Returns who is now on it."""
    mine, theirs = forgotten_people(store), forgotten_people(other)
    lists = {one.salt: one for one in mine.lists}
    for one in theirs.lists:
        own = lists.get(one.salt, ForgottenList(salt=one.salt))
        lists[one.salt] = ForgottenList(
            salt=one.salt,
            images=tuple(sorted({*own.images, *one.images})),
            patients=tuple(sorted({*own.patients, *one.patients})),
        )
    if tuple(lists.values()) != mine.lists:
        write_document(store.forgotten, ForgottenDocument(lists=tuple(lists.values())))
    return ForgottenPeople(tuple(lists.values()))
