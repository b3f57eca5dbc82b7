"""`advassay view`: a store's images in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.errors import SpecError

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port of 127.0.0.1; any free one if not given.")
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Answer at this IPv4 address of the machine instead of 127.0.0.1, and only to browsers that open the "
        "printed address, which holds a token.",
    ),
]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the first page in a browser.")]
AllImages = Annotated[
    bool,
    typer.Option(
        "--show-all-images",
        help="Show images of cohorts too whose study keeps none for figures (DICOM sources, gallery: false).",
    ),
]
Bundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        help="Write chosen images with their proofs into this new folder, which a browser opens without a server, and "
        "a figure of them (SVG, PDF, PNG); serve nothing.",
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        "--images",
        metavar="ID,…",
        help="With --bundle: these images, by id. If not given, one that the attack misclassifies and one that it does "
        "not of each cohort: those whose smallest ε, and whose clean confidence, is the median.",
    ),
]
CompareWith = Annotated[
    Path | None,
    typer.Option("--compare-with", metavar="STORE", help="Offer this store's records of the same images beside."),
]
ReaderStudy = Annotated[
    bool,
    typer.Option(
        "--reader-study",
        help="Hold a blind reader study, and show nothing else: clean and attacked side by side, which one was "
        "changed? Answers go to STORE/reader_study/answers.csv. A study that has begun goes on with its images.",
    ),
]
PerCohort = Annotated[
    int,
    typer.Option("--per-cohort", min=1, max=1000, metavar="N", help="Images of each cohort in a new reader study."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of a new reader study.")]


@cli_errors
def view(
    store: options.StoreArgument,
    port: Port = 0,
    host: Host = None,
    browser: Browser = True,
    compare_with: CompareWith = None,
    bundle: Bundle = None,
    images: Images = None,
    reader_study: ReaderStudy = False,
    per_cohort: PerCohort = 20,
    seed: Seed = 0,
    show_all_images: AllImages = False,
) -> None:
    """Look at a store in a browser: the findings, a table of all attacked images, and each image beside its attack.

    Attacked images are recomputed with the stored network and shown only where all logits equal the stored ones.
    Answers on this machine alone (127.0.0.1); prints the address; Ctrl-C ends it. Recomputing needs the extra `run`.

    Example:

        advassay view runs/demo
    """
    options.tune_for("cpu", verbose=False)  # the same arithmetic as the verbs that attacked the images
    if bundle is not None and (reader_study or compare_with is not None):
        raise SpecError("--bundle: it serves nothing, got --reader-study or --compare-with too.", "Give one of them.")
    if bundle is not None:
        _write_bundle(store, bundle, images, show_all_images)
        return
    if images is not None:
        raise SpecError("--images: it chooses what --bundle writes.", "Give --bundle DIR too.")
    from advassay.viewer import serve

    serve(
        store, host=host, port=port, browser=browser, show_all_images=show_all_images, compare_with=compare_with,
        readers=per_cohort if reader_study else None, seed=seed,
    )  # fmt: skip


def _write_bundle(store: Path, folder: Path, images: str | None, show_all_images: bool) -> None:
    from advassay.viewer import OpenedStore
    from advassay.viewer.case_selection import cases_of, typical_cases
    from advassay.viewer.static_bundle import write_bundle

    opened = OpenedStore(store, show_all_images=show_all_images)
    ids = [one.strip() for one in (images or "").split(",") if one.strip()]
    cases = typical_cases(opened) if images is None else cases_of(opened, ids)
    refused = write_bundle(opened, cases, folder, tell=say)
    if refused:
        say(f"{len(refused)} of {len(cases)} images are not proved to be the recorded ones: they have no pixels.")
    print(folder / "index.html")
