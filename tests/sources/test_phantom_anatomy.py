"""Where things are in the phantoms."""

from __future__ import annotations

import numpy as np
import pytest

from advassay.sources.phantoms import landmarks, render
from advassay.sources.phantoms.chest import mediastinum
from advassay.spec.source_spec import PhantomSource

SPEC = PhantomSource(kind="phantoms", phantom="chest", images=8, prevalence={"aortic_rotation": 0.5}, size_px=96)


def test_the_knob_is_where_the_table_says(monkeypatch):
    """Of two renderings, with a knob alone in place of the aorta and without any, the difference is the knob."""

    def knob_alone(person, position, thorax):
        x, y, radius = mediastinum.aortic_knob(person, position)
        return 3.0 * (np.hypot(thorax.x - x, (thorax.y - y) / 1.12) < radius)

    with monkeypatch.context() as patch:
        patch.setattr(mediastinum, "aorta", knob_alone)
        seen = render(SPEC, range(SPEC.images)).astype(float)
        patch.setattr(mediastinum, "aorta", lambda *_: 0.0)
        knobs = seen - render(SPEC, range(SPEC.images))
    knobs[knobs < 0.3 * knobs.max(axis=(1, 2), keepdims=True)] = 0
    centres = (np.arange(SPEC.size_px) + 0.5) / SPEC.size_px
    total = knobs.sum(axis=(1, 2))
    truth = landmarks(SPEC)
    assert np.abs((knobs.sum(axis=1) * centres).sum(axis=1) / total - truth["knob_x"].to_numpy()).max() < 0.01
    assert np.abs((knobs.sum(axis=2) * centres).sum(axis=1) / total - truth["knob_y"].to_numpy()).max() < 0.01
    area = (knobs > 0).mean(axis=(1, 2))
    assert np.allclose(np.sqrt(area / np.pi / 1.12), truth["knob_radius"].to_numpy(), rtol=0.15)


def test_only_chests_have_landmarks():
    with pytest.raises(ValueError, match="phantom: chest"):
        landmarks(PhantomSource(kind="phantoms", phantom="histology"))
