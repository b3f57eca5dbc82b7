"""torch.compile (on CUDA with graph capture) as one more rewrite of the network that steers, where it may pay.

Compiling costs minutes and does not always win: InceptionV3 took 183 s on two CPU cores and then ran at 0.73 of the
eager speed. So it is tried only where the attack is long enough for the hope of it, timed against the network as it
would run without (on a CPU fused) at the batch size in use, and kept only where it wins (batch_tuning.py); the
choice is part of the execution configuration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from advassay.attacks.surrogate.build import BFLOAT16_AGREEMENT, FLOAT32_AGREEMENT, Surrogate, max_logit_change

COMPILED = "compiled"
SECONDS, SECONDS_A_LAYER = 20.0, 0.6
"""What compiling takes at least, and more per leaf layer, as measured (InceptionV3: about 300 layers)."""
HOPE = {"cpu": 0.05, "cuda": 0.2}
"""Share of the attack's time that compiling is hoped to save; on a CPU little, by the measurement above."""


def worth_trying(module: nn.Module, seconds: float, device: str) -> bool:
    """Whether an attack of so many seconds may win back what compiling `module` costs.

    >>> worth_trying(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), seconds=600, device="cpu")
    True
    >>> worth_trying(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), seconds=300, device="cpu")
    False
    """
    layers = sum(not any(True for _ in m.children()) for m in module.modules())
    return HOPE[torch.device(device).type] * seconds >= SECONDS + SECONDS_A_LAYER * layers


def rewrite_name(backend: str) -> str:
    """How the rewrite is recorded: "compiled" by inductor, "compiled:NAME" by another backend of torch.compile."""
    return COMPILED if backend == "inductor" else f"{COMPILED}:{backend}"


def backend_of(rewrites: tuple[str, ...]) -> str | None:
    """The backend an execution configuration asks for; None where it asks for none.

    >>> backend_of(("folded", "compiled")), backend_of(("compiled:aot_eager",)), backend_of(("folded",))
    ('inductor', 'aot_eager', None)
    """
    found = [name for name in rewrites if name.split(":")[0] == COMPILED]
    return None if not found else found[0].partition(":")[2] or "inductor"


def compile_surrogate(steering: Surrogate, images: Tensor, batch_size: int, backend: str = "inductor") -> Surrogate:
    """`steering` compiled for batches of `batch_size`, or as it was with a note that says why.

    `images`: a few examples, float32 (image, channel, height, width) in [0, 1]. The classifier is in attack mode. What
    is compiled must give the logits of what was not, as closely as any other rewrite.
    """
    examples = images[torch.arange(batch_size) % len(images)]
    channels_last = "channels-last" in steering.rewrites
    tolerance = BFLOAT16_AGREEMENT if "bfloat16" in steering.rewrites else FLOAT32_AGREEMENT
    graphs = backend == "inductor" and images.is_cuda
    try:
        torch.compiler.reset()  # a module compiled before would count against this one's recompilations
        module: Any = torch.compile(
            steering.module, backend=backend, dynamic=False, mode="reduce-overhead" if graphs else None
        )
        moved = max_logit_change(module, steering.module, examples, channels_last=channels_last)
    except Exception as problem:  # the network is the user's, the compiler large: anything may be raised
        said = str(problem).strip().partition("\n")[0]
        return _without(steering, f"{type(problem).__name__}: {said}")
    if moved > tolerance:
        return _without(steering, f"it moves the logits by {moved:.2g} of the largest")
    return replace(steering, module=module, rewrites=(*steering.rewrites, rewrite_name(backend)))


def _without(steering: Surrogate, why: str) -> Surrogate:
    return replace(steering, notes=(*steering.notes, f"{COMPILED}: taken back: {why}"))
