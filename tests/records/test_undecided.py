"""An image whose logits are NaN: in the gallery, and in what a run says of itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from blocks import IMAGES, POINTS, block, header, writer

from advassay.records import Run, read_gallery, write_example
from advassay.study.run import attack_job
from advassay.study.run.attack_job import account_note, undecided_images
from advassay.study.run.gallery_selection import Gallery
from advassay.trajectory import Cost


def with_nan(images: list[str]) -> Any:
    """Rows of which those of image1 end in NaN."""
    rows = block(images)
    logits = rows.logits.copy()
    nan = rows.image_id == "image1"
    logits[nan, -1, 0] = np.nan
    return replace(rows, logits=logits, flags={"nan": nan})


def test_a_picture_of_an_image_without_a_decision_is_kept_and_has_not_fallen(tmp_path: Path) -> None:
    gallery = Gallery.__new__(Gallery)
    gallery._header = header()
    example = gallery._example(with_nan(["image1"]), 0)
    pixels = np.zeros((1, 8, 8), np.float32)
    write_example(tmp_path, example, pixels, pixels)
    [kept] = read_gallery(tmp_path)
    assert (kept.predicted, kept.adversarial_probabilities, kept.fallen) == (-1, None, False)
    assert kept.clean_probabilities is not None
    assert kept.after is None
    lost = gallery._example(replace(block(["image1"]), logits=np.full((len(POINTS), 4, 2), np.nan, np.float32)), 0)
    assert (lost.correct, lost.fallen, lost.before) == (False, False, None)


def test_images_without_a_decision_are_counted_from_what_is_stored(tmp_path: Path) -> None:
    opened = writer(tmp_path)
    opened.append(with_nan(IMAGES))
    assert undecided_images(Run(tmp_path)) == 1
    done = opened.finish(account_note=account_note(opened.total(), undecided_images(Run(tmp_path))))
    assert done.account_note.startswith("nan: 1 images have NaN logits")
    assert done.account_note in done.notes
    assert account_note(opened.total(), 0) == ""


def test_notes_that_come_after_the_last_block_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = writer(tmp_path)

    class Stream:
        known = SimpleNamespace(band=None, held=None)
        compared = None

        def __init__(self) -> None:
            self.notes: list[str] = []
            self.cost = Cost()

        def __iter__(self) -> Any:
            yield block(IMAGES)
            self.notes += ["3 pixel values were clipped", "nan: 9 images of this session"]
            self.cost.gradient_evaluations = 7

    monkeypatch.setattr(attack_job, "_steps", lambda *_: 1)
    request = SimpleNamespace(image_ids=tuple(IMAGES), points=POINTS, arm=SimpleNamespace())
    site = SimpleNamespace(progress=attack_job.Silent())
    gallery = SimpleNamespace(write=lambda rows: None)
    run = SimpleNamespace(request=request, site=site, _stream=lambda *_: Stream(), _gallery=lambda: gallery)
    run._attack = partial(attack_job.AttackRun._attack, run)  # type: ignore[arg-type]
    rest, late = attack_job.AttackRun._attack_missing(run, opened, None)  # type: ignore[arg-type]
    assert late == ["3 pixel values were clipped"]
    assert rest.gradient_evaluations == 7
