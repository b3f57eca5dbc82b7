"""`advassay forget`: take a patient out of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say

Patient = Annotated[
    str,
    typer.Option(
        "--patient", metavar="PSEUDONYM", help="The patient's pseudonym, as in column patient_id.", show_default=False
    ),
]


@cli_errors
def forget(store: options.StoreArgument, patient: Patient) -> None:
    """Remove a patient from a store: images, rows, gallery entries, and the patient's rows of the private table.

    For consent that is withdrawn. Reports in the store are marked as outdated, and what was trained with the person's
    images is named. Stopped at any point, the same command continues.

    Example:

        advassay forget runs/demo --patient p0123456789abcdef
    """
    from advassay.report.output.outdated import mark_outdated
    from advassay.study.config.name_checks import store_at
    from advassay.study.study_storage import stored_study
    from advassay.study.upkeep.forget_patient import forget as forget_patient

    place = store_at(store)
    stored_study(place)  # a folder that is no store is an error, and is not made one
    done = forget_patient(place, patient)
    for line in done.told():
        say(line)
    if reports := mark_outdated(place.report, "A patient was taken out of the store after this was written."):
        say(
            f"Marked as outdated in {place.report}, may still show the person: {', '.join(reports)}. Write the report "
            f"again (advassay report {store}), and delete copies elsewhere."
        )
