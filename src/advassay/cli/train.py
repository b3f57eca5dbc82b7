"""`advassay train`: the first two stages of a study."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions, say_left_out
from advassay.cli.output_tables import end_with_errors
from advassay.store_layout import MODEL

COLUMNS = {
    "cohort": "the cohort's name in the study",
    "classifier": "id of the network",
    "train_size": "training images",
    "train_seed": "random seed of the training",
    "images": "validation images",
    "accuracy": "share of them classified correctly",
    "auroc": "area under the ROC curve; null where a class has no validation image",
    "sensitivity": "of the positive class, likewise",
    "specificity": "of the positive class, likewise",
    "path": "the network's file",
}
"""Columns of `train --json`, one entry for each network."""

if TYPE_CHECKING:
    from advassay.store_documents import TrainingDocument
    from advassay.study import RunEnvironment
    from advassay.study.run.prepare_stage import Failures


@cli_errors
def train(
    study: options.StudyFile,
    store: options.StoreFolder = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    key_file: options.KeyFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Train every network of a study: one per cohort, and those of its training-size series.

    Cohorts that are not prepared yet are prepared first; networks that the store has are kept. Each network is
    STORE/classifiers/<id>/model.safetensors, a file that `advassay attack --model` takes.
    A cohort that cannot be formed does not stop the others: its error comes last, and the exit code is 3.

    Example:

        advassay train studies/demo.yaml --store runs/demo
    """
    from advassay.study import train as train_study

    asked = StudyOptions(
        study, store, data, device, threads, scale, source, changes, key_file, quiet or as_json, verbose
    )
    read = asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        documents = train_study(read, here, failures)
    if as_json:
        print(json.dumps([_as_data(document, here) for document in documents], ensure_ascii=False, indent=2))
    for document in () if as_json else documents:
        score = document.validation
        say(
            f"{document.cohort}: {document.train_size} training images, accuracy {score.accuracy:.2f} on "
            f"{score.images} validation images: {here.store.classifier(document.classifier) / MODEL}"
        )
    say_left_out(failures, read, here)
    end_with_errors(failures)


def _as_data(document: TrainingDocument, here: RunEnvironment) -> dict[str, Any]:
    score = document.validation
    scores = {name: getattr(score, name) for name in ("images", "accuracy", "auroc", "sensitivity", "specificity")}
    own = {name: getattr(document, name) for name in ("cohort", "classifier", "train_size", "train_seed")}
    return own | scores | {"path": str(here.store.classifier(document.classifier) / MODEL)}
