"""`python -m advassay` is `advassay`."""

from advassay.cli.program import main

main()
