"""`advassay transfer`: score the attacked images of a store's networks by its other networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions, say_left_out
from advassay.cli.output_tables import end_with_errors

if TYPE_CHECKING:
    from advassay.study.run.prepare_stage import Failures

COLUMNS = {
    "cohort": "the cohort's name",
    "arm": "name of the attack arm",
    "run_id": "folder of the run in STORE/transfer",
    "source_classifier": "identity of the network that was attacked",
    "classifier": "identity of the network that scored the images",
    "images": "images attacked",
    "rows": "images × amplitudes",
}
"""Columns of `transfer --json`, one entry for each ordered pair of networks, a network with itself among them."""
Features = Annotated[
    bool, typer.Option("--features", help="Also measure distances in the networks' features (attack.features).")
]


@cli_errors
def transfer(
    store: options.StoreArgument,
    features: Features = False,
    changes: options.Set = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    key_file: options.KeyFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Attack every network of a store once more, and score the images by the others of its cohort.

    The store's study is continued with attack.transfer: true, which stays in its study.yaml: the records are those of a
    study that asked for it from the beginning, but for the frozen analysis plan, which says that it was added. Every
    cohort needs two networks: seeds, train_sizes, or training.architectures, which --set adds. What the study lacks
    besides is done as well. Stopped at any point, the same command continues. A cohort that cannot be formed does not
    stop the others: its error comes last, and the exit code is 3.

    Example:

        advassay transfer runs/demo --set 'training.architectures=[inception_v3, densenet121]'
    """
    from advassay.records import open_records
    from advassay.store_layout import Store
    from advassay.study import attack as attack_study
    from advassay.study import stored_study

    kept = Store(store)
    stored_study(kept)  # a folder that is no store is an error, and is not made one
    asked = ["attack.transfer=true", *(["attack.features=true"] if features else []), *(changes or [])]
    given = StudyOptions(
        kept.study, store, data, device, threads, changes=asked, key_file=key_file, quiet=quiet or as_json,
        verbose=verbose,
    )  # fmt: skip
    study = given.read()
    failures: Failures = {}
    with given.site(study, runs_networks=True) as here:
        attack_study(study, here, failures)
    say_left_out(failures, study, here)
    headers = [run.header for run in open_records(store).transfers]
    if as_json:
        rows = [{name: getattr(header, name) for name in COLUMNS} for header in headers]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif headers:
        say(f"{len(headers)} pairs of networks in {kept.transfers}. Next: advassay conclusions {store}")
    end_with_errors(failures)
