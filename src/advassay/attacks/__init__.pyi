from .api import attack as attack, sweep as sweep
from .batch_tuning import tune_batch_size as tune_batch_size
from .masked_gradient_rerun import gradient_masked_images as gradient_masked_images, linked_rerun as linked_rerun
from .reference import iterates as iterates
from .sanity_controls import run_controls as run_controls
from .stream import AttackStream as AttackStream, Item as Item
