"""`python -m advassay.cli` is `advassay`."""

from advassay.cli.program import main

main()
