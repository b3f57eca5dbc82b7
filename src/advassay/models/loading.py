"""`load_model`: a path or a name becomes a proved classifier."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from advassay.errors import AdvassayError, ClassifierError, InputError, SpecError
from advassay.model_document import number_per_channel
from advassay.models.loaded_model import FORMATS, LoadedModel, ModelFormat, ModelRequest
from advassay.models.weight_files import is_pickle, is_safetensors, refuse_pickle, starts_with

_PYTHON = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def load_model(
    model: str | PathLike[str],
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    value_range: tuple[float, float] | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    finding: str | int | None = None,
    trust: bool = False,
    images: np.ndarray | None = None,
    device: str = "cpu",
) -> LoadedModel:
    """A model of any maker as a classifier, proved against its own runtime before it is returned.

    - `model`: a file or folder, recognised by its content: a checkpoint of `advassay train`, a Hugging Face folder, a
      timm folder, TorchScript, torch.export (.pt2), ONNX, Keras; or a text: `hf:FOLDER`, `timm:NAME@FILE`,
      `xrv:NAME@FILE` (TorchXRayVision), `FILE.py:FUNCTION` (with trust=True).
    - `mean`, `std`: one number or one per channel, of images in [0, 1]; `value_range`: what 0 and 1 of the image become
      for the model, e.g. (0, 255); `channels`: how many it takes. Each replaces what the model's own files say; where
      they say nothing: mean 0, std 1, [0, 1].
    - `class_names`: in the order of the logits. `finding`: for a multi-label model, the output that is decided, by name
      or number: its logit z gives the two classes (0, z).
    - `trust`: whether Python code that builds the model may run.
    - `images`: float32 (image, channel, height, width) in [0, 1], what is to be attacked: the proof is made on them.
      None: on synthetic images; call `prove(images)` later, as `advassay attack --model` does.

    The result is a Classifier with `proof`, `class_names`, `notes`, `preprocessing`, `format`. Raises SpecError for a
    library that is not installed, ClassifierError for a file that cannot or must not be read and for a model that could
    not be proved, TrainingError for a damaged checkpoint of `advassay train`.
    """
    format_name, path, name = parse_name(fspath(model))
    request = ModelRequest(
        path=path,
        name=name,
        mean=None if mean is None else number_per_channel(mean),
        std=None if std is None else number_per_channel(std),
        value_range=value_range,
        channels=channels,
        class_names=None if class_names is None else tuple(class_names),
        finding=finding,
        trust=trust,
    )
    chosen = FORMATS.get(format_name) if format_name else recognise(path)
    return _first_proved(chosen, request, images).to(device)


def findings_of(model: str | PathLike[str], *, trust: bool = False) -> tuple[str, ...]:
    """Names of the findings that a multi-label model was trained for; their numbers as text where it names none.

    Raises ClassifierError for a model that decides between classes, and for what `load_model` cannot read.
    """
    format_name, path, name = parse_name(fspath(model))
    chosen = FORMATS.get(format_name) if format_name else recognise(path)
    with closing(iter(chosen.open(ModelRequest(path=path, name=name, trust=trust)))) as found:  # type: ignore[type-var]
        parts = next(found)
    if not parts.multi_label:
        raise ClassifierError(
            f"finding: expected a model that gives each finding its own decision, got {path.name}.",
            "Leave --finding out: this model decides between classes.",
        )
    if parts.outputs is None:
        raise ClassifierError(
            f"finding: {path.name} names no findings.", "Give their numbers, counted from 0: --finding 0,1,2."
        )
    return tuple(output for output in parts.outputs if output)


def parse_name(text: str) -> tuple[str | None, Path, str]:
    """(format named by a prefix or None, path, what stands before its @ or after its colon).

    >>> parse_name("timm:resnet18@weights.safetensors")
    ('timm', PosixPath('weights.safetensors'), 'resnet18')
    >>> parse_name("models/net.py:build"), parse_name("net.onnx")
    (('python', PosixPath('models/net.py'), 'build'), (None, PosixPath('net.onnx'), ''))
    """
    prefix, colon, rest = text.partition(":")
    if colon and len(prefix) > 1 and not Path(text).exists():
        known = {each.prefix: each.name for each in FORMATS.parts() if each.prefix}
        if prefix in known:
            name, at, file = rest.rpartition("@")
            return known[prefix], Path(file if at else rest), name
        if found := _PYTHON.fullmatch(text):
            return "python", Path(found["file"]), found["name"]
        if "/" not in prefix and "." not in prefix:
            raise SpecError(
                f"model: expected a prefix among {', '.join(f'{each}:' for each in sorted(known))}, got {prefix}:.",
                "Give a path alone: files are recognised by their content.",
            )
    return None, Path(text), ""


def recognise(path: Path) -> ModelFormat:
    """The format of a file or folder, by its content. Raises ClassifierError where it is none, saying what it is."""
    if not path.exists():
        raise ClassifierError(f"model: no such file or folder: {path}.", "Check the path.")
    for each in FORMATS.parts():
        if each.recognises(path):
            return each
    raise _unreadable(path)


def _unreadable(path: Path) -> ClassifierError:
    """What a file is that no format reads, and how to bring it."""
    if is_safetensors(path):
        return ClassifierError(
            f"{path.name}: weights alone do not say which network they are of.",
            f"Name it: timm:NAME@{path.name} for a network of timm, xrv:NAME@{path.name} for one of TorchXRayVision.",
        )
    if is_pickle(path):
        return refuse_pickle(path)
    if path.is_dir() and (path / "configs" / "metadata.json").is_file():
        return ClassifierError(
            f"{path.name}: a MONAI bundle, whose configuration can name any code (CVE-2026-21851), is not loaded.",
            "Build its network in Python, and export it: torch.export.save(torch.export.export(network, (example,)), "
            "'model.pt2').",
        )
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return ClassifierError(
            f"{path.name}: a TensorFlow SavedModel is not read.",
            "Convert it: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
        )
    if starts_with(path, b"\x1c\0\0\0TFL3", b"\x20\0\0\0TFL3", b"\x18\0\0\0TFL3"):
        return ClassifierError(
            f"{path.name}: a TensorFlow Lite model is not read; its weights are often rounded to 8 bits.",
            "Give the model that it was made from.",
        )
    kind = "folder" if path.is_dir() else "file"
    return ClassifierError(
        f"{path.name}: no model format recognises this {kind} ({', '.join(FORMATS.names())}).",
        "Give a checkpoint, a Hugging Face folder, TorchScript, torch.export .pt2, ONNX or Keras; or load it in Python "
        "as advassay.Classifier(module, mean=…, std=…).",
    )


def _first_proved(chosen: ModelFormat, request: ModelRequest, images: np.ndarray | None) -> LoadedModel:
    """The first reading of the model that proves right. Raises what the last one failed with where none does."""
    failures: list[str] = []
    failed: AdvassayError | None = None
    with closing(_readings(chosen, request)) as readings:
        for model in readings:
            try:
                model.prove(images)
            except InputError:  # the images are at fault, whatever reads the model
                raise
            except ClassifierError as error:
                failures.append(f"{model.parts.converter or chosen.name}: {error.problem}")
                failed = error
                continue
            model.notes = (*model.notes, *(f"tried first and refused: {each}" for each in failures))
            return model
    if failed is None:
        raise ClassifierError(f"{request.path.name}: {chosen.name} gives no model.", "Check the file.")
    if len(failures) == 1:
        raise failed
    raise ClassifierError("model: no way to read it proves right. " + " ".join(failures), failed.fix)


def _readings(chosen: ModelFormat, request: ModelRequest) -> Generator[LoadedModel, None, None]:
    with closing(iter(chosen.open(request))) as found:  # type: ignore[type-var]
        for parts in found:
            yield LoadedModel(parts, request, chosen.name)
