"""A small Hugging Face folder, built from its configuration: nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def save_resnet(folder: Path, processor: dict[str, Any] | None = None, **config: Any) -> Any:
    """A small ResNet with its processor in `folder`."""
    import transformers

    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    made = transformers.ResNetConfig(
        **(settings | {"num_labels": 2, "id2label": {0: "benign", 1: "malignant"}} | config)
    )
    model = transformers.ResNetForImageClassification(made).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    default = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2,
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor or default))
    return model
