"""`advassay status`: how far the study in a store is."""

from __future__ import annotations

from advassay.cli import options
from advassay.cli.clean import clean
from advassay.cli.tables import print_json, print_table


@clean
def status(
    store: options.StoreArgument,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Print what the store holds of its study and what is missing, controls and re-runs too. Nothing is written.

    ≤ marks an upper bound: how much of it is needed shows when its arm has run.

    Example:

        advassay status runs/demo
    """
    from advassay.study import kept_study, plan, site

    here = site(store, data=data, device="cpu")
    study = kept_study(here.store)
    found = plan(study, here, timed=False)
    if as_json:
        print_json(found)
        return
    print_table(found, title=f"{study.name} in {store}")
