"""Checkpoints that `advassay train` writes: a safetensors file whose header says everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from advassay.model_document import Preprocessing
from advassay.models.checkpoint import CheckpointMetadata, checkpoint_metadata, load_classifier
from advassay.models.loaded_model import FORMATS, ModelFormat, ModelParts, ModelRequest, Reference
from advassay.models.preprocessing_steps import network_input
from advassay.models.timm_networks import build_network
from advassay.models.weight_files import file_sha256, read_tensors, safetensors_metadata


class OwnCheckpoint(ModelFormat):
    """`model.safetensors` of a store."""

    name = "advassay"

    def recognises(self, path: Path) -> bool:
        metadata = safetensors_metadata(path)
        return metadata is not None and "advassay" in metadata

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        metadata = checkpoint_metadata(request.path)
        found = Preprocessing(
            channels=metadata.channels,
            mean=(metadata.mean,),
            std=(metadata.std,),
            origin="the checkpoint's header",
        )
        steps = request.preprocessing(found)

        @contextmanager
        def reference() -> Iterator[Reference]:
            yield _timm_network(request.path, metadata, found)

        side = metadata.image_size_px
        yield ModelParts(
            network=load_classifier(request.path).module,
            preprocessing=steps,
            open_reference=reference,
            architecture=metadata.architecture,
            weights_sha256=file_sha256(request.path),
            class_names=metadata.class_names,
            image_size_px=(side, side),
        )


def _timm_network(path: Path, metadata: CheckpointMetadata, steps: Preprocessing) -> Reference:
    """timm's own network with the file's tensors, one image at a time, normalised in NumPy."""
    import timm

    network = build_network(
        metadata.architecture,
        channels=metadata.channels,
        classes=len(metadata.class_names),
        image_size_px=metadata.image_size_px,
    ).eval()
    network.load_state_dict(read_tensors(path), strict=True)

    @torch.no_grad()
    def outputs(images: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(network_input(steps, images))
        return torch.cat([network(image[None]) for image in given]).numpy()

    return Reference(f"timm {timm.__version__}", outputs)


FORMATS.register(OwnCheckpoint())
