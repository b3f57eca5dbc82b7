"""`advassay run`: a whole study, from images to its report."""

from __future__ import annotations

from pathlib import Path

from advassay.cli import options
from advassay.cli.clean import clean, say
from advassay.cli.progress import progress
from advassay.cli.staging import Asked


@clean
def run(
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
    """Run a whole study: prepare, train, attack, report.

    Stopped at any point (Ctrl-C, power cut), the same command continues. A study with more amplitudes, images,
    arms or seeds computes only what is new. At the end it prints where the report is.

    Example:

        advassay run studies/demo.yaml --store runs/demo
    """
    from advassay.study import run as run_study

    asked = Asked(study, store, data, device, threads, scale, source, changes, key_file, quiet)
    read = asked.read()
    with asked.site(read) as here:
        run_study(read, here)
    print_report(here.store.root, quiet)


def print_report(store: Path, quiet: bool = False) -> None:
    """Write the report of a store and say where it is: on stderr for people, its path on stdout for scripts."""
    from advassay.report import write_report

    with progress(quiet) as shown:
        page = write_report(store, None, progress=shown)
    say("Done. The report:")
    print(page)
