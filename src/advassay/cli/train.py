"""`advassay train`: the first two stages of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions, say_left_out
from advassay.cli.output_tables import end_with_errors
from advassay.store_layout import MODEL

if TYPE_CHECKING:
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
    quiet: options.QuietOption = False,
) -> None:
    """Train every network of a study: one per cohort, and those of its training-size series.

    Cohorts that are not prepared yet are prepared first; networks that the store has are kept. Each network is
    STORE/classifiers/<id>/model.safetensors, a file that `advassay attack --model` takes.
    A cohort that cannot be formed does not stop the others: its error comes last, and the exit code is 3.

    Example:

        advassay train studies/demo.yaml --store runs/demo
    """
    from advassay.study import train as train_study

    asked = StudyOptions(study, store, data, device, threads, scale, source, changes, key_file, quiet)
    read = asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        documents = train_study(read, here, failures)
    for document in documents:
        score = document.validation
        say(
            f"{document.cohort}: {document.train_size} training images, accuracy {score.accuracy:.2f} on "
            f"{score.images} validation images: {here.store.classifier(document.classifier) / MODEL}"
        )
    say_left_out(failures, read, here)
    end_with_errors(failures)
