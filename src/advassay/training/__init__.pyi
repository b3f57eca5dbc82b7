from .network_identity import classifier_identity as classifier_identity
from .pipeline import (
    CheckpointMetadata as CheckpointMetadata,
    checkpoint_metadata as checkpoint_metadata,
    load_classifier as load_classifier,
    minimum_image_size as minimum_image_size,
    train as train,
)
from .training_data import TrainingCohort as TrainingCohort
from .training_loop import updates_for as updates_for
