"""Libraries that only some work needs: which extra installs each, and what is said where one is missing.

The base installation reads, analyses and reports. Attacks, training, DICOM, slides and foreign model formats need an
extra of the distribution: `pip install 'advassay[run]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import lazy_loader

from advassay.errors import MissingLibraryError

EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "run": ("attack and train networks", ("torch", "timm", "safetensors", "cv2", "h5py")),
    "dicom": ("read DICOM archives", ("pydicom", "gdcm", "pylibjpeg", "openjpeg", "cv2")),
    "slides": ("cut whole slides into tiles", ("openslide", "tifffile", "shapely", "cv2")),
    "hf": ("evaluate Hugging Face models", ("transformers",)),
    "onnx": ("evaluate ONNX models", ("onnx", "onnxruntime", "onnx2torch", "onnx2fx", "onnx2pytorch")),
    "keras": ("evaluate Keras models", ("keras",)),
    "xrv": ("evaluate TorchXRayVision models", ("torchxrayvision", "torchvision")),
    "ray": ("run a study on a Ray cluster", ("ray",)),
    "sync": ("bring a store together with object storage", ("fsspec", "s3fs")),
    "view": ("look at attacked images in a browser", ("fastapi", "uvicorn")),
    "suite": ("search by other libraries' attacks in the worst case", ("foolbox", "torchattacks")),
}
"""Extra → what it is for, and the modules that it installs."""
BUILT_ON_RUN = frozenset({"hf", "onnx", "keras", "xrv", "ray", "suite"})
"""Extras that install `run` too."""


def extra_of(module: str, preferred: str | None = None) -> str | None:
    """The extra that installs `module` ("torch.nn" counts as "torch"); `preferred` where several do, else the first.

    >>> extra_of("torch.nn"), extra_of("cv2"), extra_of("cv2", "slides"), extra_of("json")
    ('run', 'run', 'slides', None)
    """
    found = [extra for extra, (_, modules) in EXTRAS.items() if module.partition(".")[0] in modules]
    return preferred if preferred in found else next(iter(found), None)


def missing_modules(extra: str) -> list[str]:
    """The modules that `extra` installs and that are not there. None of them is imported."""
    modules = EXTRAS[extra][1] + (EXTRAS["run"][1] if extra in BUILT_ON_RUN else ())
    return [module for module in modules if not is_installed(module)]


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def require_library(module: str, extra: str | None = None) -> None:
    """Raise MissingLibraryError, which names the extra, where `module` is not installed; it is not imported."""
    if not is_installed(module):
        with optional_imports(extra):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def missing_library(error: ImportError, preferred: str | None = None) -> MissingLibraryError | None:
    """The error that names the extra to install; None where `error` is not of a library that an extra installs."""
    module = error.name or ""
    extra = extra_of(module, preferred)
    if extra is None or not isinstance(error, ModuleNotFoundError):
        return None
    return MissingLibraryError(
        f"This needs the library {module.partition('.')[0]}, which is not installed.",
        f"pip install 'advassay[{extra}]'",
    )


@contextmanager
def optional_imports(extra: str | None = None) -> Iterator[None]:
    """Inside, an import of a library that is not installed raises MissingLibraryError, which names the extra.

    extra: named where several extras install the library.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (known := missing_library(error, extra)) is None:
            raise
        raise known from None


def attach_names(
    package: str, file: str, extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose stub lists its names: each is imported when first used.

    Raises MissingLibraryError where a name needs a library that is not installed (PEP 562, lazy_loader.attach_stub).
    """
    find, names, every = lazy_loader.attach_stub(package, file)

    def named(name: str) -> Any:
        with optional_imports(extra):
            return find(name)

    return named, names, every
