"""Names of our array axes, in the order they always appear. Checked while tests run (jaxtyping).

step_size · epsilon · step · image · class      what an attack gives
row · step · class                              what a shard holds: row = image × step size × ε × restart
image · channel · height · width                what a network takes

`step` runs over 0 … steps: index 0 is the clean image. Images are float32 in [0, 1].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

Images = Float32[np.ndarray, "image channel height width"]
Labels = Int[np.ndarray, " image"]
Logits = Float[np.ndarray, "*grid step image class"]
"""`*grid`: no axis for one attack, (epsilon,) or (step_size, epsilon) for a sweep."""
Scores = Float[np.ndarray, "*any class"]
