"""From amounts of haematoxylin and eosin to colours: Beer–Lambert, RGB = white · 10^(−(h·H + e·E)).

Unit vectors H and E of optical density after Ruifrok & Johnston (2001, Anal Quant Cytol Histol 23:291–299). Every
slide has its own: the dyes' hues turn a little, their strengths and the white of the lamp differ.
"""

from __future__ import annotations

import numpy as np

from advassay.sources.phantoms.draws import Draws

HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
_LOG10 = np.float32(np.log(10))


def stain(haematoxylin: np.ndarray, eosin: np.ndarray, slide: Draws, tile: Draws) -> np.ndarray:
    """(batch, size, size, 3) uint8 RGB from amounts (batch, size, size); 1 ≈ a dark nucleus, a dense fibre."""
    strength_h = np.exp(slide.normal("haematoxylin", sd=0.15))
    strength_e = np.exp(slide.normal("eosin", sd=0.17))
    image = np.empty((*haematoxylin.shape, 3), np.uint8)
    noise = [g.standard_normal(haematoxylin.shape[1:], dtype=np.float32) for g in tile.generators("camera")]
    grain = np.stack(noise) * np.float32(2.0)
    for channel, (h, e) in enumerate(zip(HAEMATOXYLIN, EOSIN, strict=True)):
        hue_h = h + slide.normal(f"hue H {channel}", sd=0.03)
        hue_e = np.maximum(e + slide.normal(f"hue E {channel}", sd=0.03), 0.01)
        white = slide.normal(f"white {channel}", 240, 4) * np.exp(tile.normal("lamp", sd=0.015))
        density = haematoxylin * (strength_h * hue_h) + eosin * (strength_e * hue_e)
        colour = np.exp(density * -_LOG10) * white + np.roll(grain, 5 * channel, axis=2)
        image[..., channel] = np.clip(np.rint(colour), 0, 255)
    return image
