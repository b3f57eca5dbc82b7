"""`advassay prepare`: the first stage of a study, alone."""

from __future__ import annotations

from advassay.cli import options
from advassay.cli.clean import clean, say
from advassay.cli.staging import Asked


@clean
def prepare(
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
    """Select, split and prepare the images of every cohort.

    The first stage of `run`, alone. What the store already has is kept.

    Example:

        advassay prepare studies/demo.yaml --store runs/demo
    """
    from advassay.study import prepare as prepare_study

    asked = Asked(study, store, data, device, threads, scale, source, changes, key_file, quiet)
    read = asked.read()
    with asked.site(read) as here:
        documents = prepare_study(read, here)
    for name, document in documents.items():
        counts = ", ".join(f"{sum(classes.values())} {role}" for role, classes in document.counts.items())
        say(f"{name}: {counts}; {document.candidates - _images(document.counts)} of {document.candidates} left out")
    say(f"Prepared in {here.store.root}.")


def _images(counts: dict[str, dict[str, int]]) -> int:
    return sum(sum(classes.values()) for classes in counts.values())
