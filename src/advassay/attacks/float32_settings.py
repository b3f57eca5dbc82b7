"""PyTorch's settings of float32 arithmetic: set for an attack, and put back as they were set, inherited or not.

Those of precision come in two generations that PyTorch refuses to read where they disagree. New: a tree
(`fp32_precision` of everything, of a backend, of an operation), where "none" inherits. Legacy:
`set_float32_matmul_precision` and `cudnn.allow_tf32`. cuDNN's convolutions begin in a state that inherits, means TF32
where nothing is set, and cannot be set again; so they are ruled by what they inherit from, and their own setting is
touched only where somebody else has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

_Setting = tuple[str, str]
_ALL: _Setting = ("generic", "all")
_BACKENDS: tuple[_Setting, ...] = (("cuda", "all"), ("mkldnn", "all"))
_OPERATIONS: tuple[_Setting, ...] = tuple(
    (backend, operation) for backend in ("cuda", "mkldnn") for operation in ("matmul", "conv", "rnn")
)
_CUDNN: tuple[_Setting, ...] = (("cuda", "conv"), ("cuda", "rnn"))
_C: Any = torch._C


def _kernel_switches() -> tuple[tuple[Callable[[], Any], Callable[[Any], None], Any], ...]:
    """(reader, writer, value under attack) of what chooses among kernels that give other last bits: PyTorch's defaults,
    but cuDNN's kernels that add in the order in which threads arrive are not taken."""
    mha, einsum = torch.backends.mha, torch.backends.opt_einsum
    return (
        (_C._get_cudnn_deterministic, _C._set_cudnn_deterministic, True),
        (_C._get_cudnn_benchmark, _C._set_cudnn_benchmark, False),
        (_C._get_cudnn_enabled, _C._set_cudnn_enabled, True),
        (_C._get_mkldnn_enabled, _C._set_mkldnn_enabled, True),
        (_C._get_flash_sdp_enabled, _C._set_sdp_use_flash, True),
        (_C._get_mem_efficient_sdp_enabled, _C._set_sdp_use_mem_efficient, True),
        (_C._get_math_sdp_enabled, _C._set_sdp_use_math, True),
        (_C._get_cudnn_sdp_enabled, _C._set_sdp_use_cudnn, True),
        (mha.get_fastpath_enabled, mha.set_fastpath_enabled, True),
        (lambda: einsum.enabled, partial(setattr, einsum, "enabled"), einsum.is_available()),
    )


@contextmanager
def full_float32() -> Iterator[None]:
    """True float32 in an order that repeats, while inside: no TF32 (its 10-bit mantissa would make CUDA's judgements
    depend on the batch), no bfloat16 inside a processor's float32, and none of cuDNN's kernels that add in whichever
    order threads arrive."""
    with default_kernels(), ieee_float32():
        yield


@contextmanager
def default_kernels() -> Iterator[None]:
    """PyTorch's own choice of kernels while inside, whatever a caller has switched off or on."""
    with ExitStack() as stack:
        for read, write, value in _kernel_switches():
            if (before := read()) != value:
                write(value)
                stack.callback(write, before)
        yield


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Every operation in true float32 while inside, both generations of settings agreeing on it."""
    before = {setting: _own(setting) for setting in (_ALL, *_BACKENDS, *_OPERATIONS)}
    in_effect = {setting: _get(setting) for setting in _CUDNN}
    for setting in (_ALL, *_BACKENDS, *(s for s in _OPERATIONS if before[s] != "none" or s not in _CUDNN)):
        _set(setting, "ieee")
    matmul = _C._get_float32_matmul_precision()  # readable now that the tree says ieee
    _C._set_float32_matmul_precision("highest")
    try:
        with _legacy_cudnn():
            yield
    finally:
        _C._set_float32_matmul_precision(matmul)
        for setting, own in before.items():
            if own != "none" or setting not in _CUDNN:
                _set(setting, own)
        for setting, precision in in_effect.items():  # a network that has set cuDNN's itself
            if _get(setting) != precision:
                _set(setting, precision)


def _get(setting: _Setting) -> str:
    """What a setting amounts to, what it inherits counted in."""
    return str(_C._get_fp32_precision_getter(*setting))


def _set(setting: _Setting, precision: str) -> None:
    _C._set_fp32_precision_setter(*setting, precision)


def _own(setting: _Setting) -> str:
    """What was set here itself; "none" where it follows what it inherits from."""
    if setting == _ALL:
        return _get(setting)
    above = _ALL if setting[1] == "all" else (setting[0], "all")
    kept, seen = _own(above), []
    for precision in ("ieee", "tf32"):
        _set(above, precision)
        seen.append(_get(setting))
    _set(above, kept)
    return "none" if seen == ["ieee", "tf32"] else seen[0]


@contextmanager
def _legacy_cudnn() -> Iterator[None]:
    """`cudnn.allow_tf32` reads as False while inside, and what a network writes there is noted but not done.

    Else a network that reads or brackets it, as `torch.backends.cudnn.flags` does, would meet PyTorch's refusal to read
    settings that disagree; and writing it ends the inheritance for good, whatever is written afterwards.
    """
    setting = vars(type(torch.backends.cudnn))["allow_tf32"]
    read, write = _C._get_cudnn_allow_tf32, _C._set_cudnn_allow_tf32
    noted = [False]
    _C._get_cudnn_allow_tf32 = setting.getter = lambda: noted[-1]
    _C._set_cudnn_allow_tf32 = setting.setter = noted.append
    try:
        yield
    finally:
        _C._get_cudnn_allow_tf32 = setting.getter = read
        _C._set_cudnn_allow_tf32 = setting.setter = write
