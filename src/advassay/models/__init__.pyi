from .loaded_model import (
    FORMATS as FORMATS,
    LoadedModel as LoadedModel,
    ModelFormat as ModelFormat,
    ModelParts as ModelParts,
    ModelRequest as ModelRequest,
)
from .checkpoint import (
    CheckpointMetadata as CheckpointMetadata,
    checkpoint_metadata as checkpoint_metadata,
    load_classifier as load_classifier,
)
from .loading import load_model as load_model
from .proof import prove_model as prove_model
from .timm_networks import minimum_image_size as minimum_image_size
