from .checkpoint import (
    CheckpointMetadata as CheckpointMetadata,
    checkpoint_metadata as checkpoint_metadata,
    load_classifier as load_classifier,
)
from .network_identity import classifier_identity as classifier_identity
from .pipeline import train as train
from .timm_networks import minimum_image_size as minimum_image_size
from .training_data import TrainingCohort as TrainingCohort
from .update_schedule import updates_for as updates_for
