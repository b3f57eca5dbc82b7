"""What the program sets for its own process before networks run on a processor. Importing advassay sets nothing.

The command line calls `tune_process` where a verb runs networks, and says what it has set. A Python program that wants
the same calls `advassay.tune_process()` before its first attack or training. Memory and compiled layers change no bit
of a result; strict products change the last bit of some, and make it independent of an image's place in the batch.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

PRIMITIVE_CACHE = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
"""Names of oneDNN's variable."""
PRIMITIVES = "16384"
REPRODUCIBLE, STRICT = "MKL_CBWR", "AUTO,STRICT"
"""MKL's variable, and the mode in which a row of a product does not depend on the others (oneMKL developer guide,
"Conditional Numerical Reproducibility", strict mode)."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX = -3, -1, -4
_MALLOC_CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


def tune_process() -> tuple[str, ...]:
    """Have products computed strictly, freed buffers and compiled layers kept; returns what was set, a sentence each.

    To be called before the first network runs. What the environment chooses by a variable of its own stands.
    """
    found = []
    if make_products_strict():
        found.append(f"matrix products are computed alike at every place of a batch ({REPRODUCIBLE} sets another mode)")
    if keep_freed_memory():
        found.append("freed memory is kept until the process ends (MALLOC_TRIM_THRESHOLD_=131072 switches that off)")
    if keep_compiled_layers():
        found.append(f"{PRIMITIVES} compiled layers are kept ({PRIMITIVE_CACHE[0]} sets another number)")
    return tuple(found)


def make_products_strict() -> bool:
    """Have MKL compute each row of a matrix product alike, wherever it lies in a batch; whether it was told to.

    By itself it takes other code for the last rows of a block: a layer to one, two or three classes gave an image's
    logits another last bit by its place, so that a run that was stopped, or done in parts, differed in it. MKL reads
    the variable at its first product in the process, so this must come before. A layer to a single output stays as it
    was on some processors (AMD EPYC). Products were as fast (ViT-tiny at
    224 px, 768 × 768, and 2,048 features to two classes in batches of 32, on a processor with AVX-512).
    """
    if REPRODUCIBLE in os.environ:
        return False
    os.environ[REPRODUCIBLE] = STRICT
    return True


@cache
def keep_freed_memory() -> bool:
    """Have glibc keep large freed buffers for the next pass; whether it was told to.

    By itself it hands buffers above 32 MiB back to the system, which zeroes and maps every page anew in the next pass:
    InceptionV3's gradients at 256 px in batches of 32 took 1.4 times (bfloat16) to 1.8 times (float32) as long. From
    here on the process keeps its peak until it ends. It changes buffers of the main thread alone. glibc's own variables
    (MALLOC_TRIM_THRESHOLD_=131072, say) switch it off.
    """
    chosen = any(name in os.environ for name in _MALLOC_CHOICES)
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or os.name != "posix":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # glibc before 2.35 refuses a threshold above 32 MiB, but can be told to map nothing.
    mapped_last = mallopt(_MMAP_THRESHOLD, 2**31 - 1) or mallopt(_MMAP_MAX, 0)
    return bool(mapped_last and mallopt(_TRIM_THRESHOLD, -1))


def keep_compiled_layers() -> bool:
    """Have oneDNN keep more of the layers it compiles; whether it was told to.

    It keeps 1,024 unless told otherwise, and compiles anew what it has dropped: InceptionV3 forwards and backwards, in
    two precisions and a few batch sizes, needs more (a few MB). It reads the variable at the first layer that runs in
    the process, so this must come before.
    """
    if any(name in os.environ for name in PRIMITIVE_CACHE):
        return False
    os.environ[PRIMITIVE_CACHE[0]] = PRIMITIVES
    return True
