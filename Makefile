# The commands of the project. A fresh machine needs Python 3.11 with venv, gcc and make; the rest is set up here.
PYTHON ?= python3.11
ADVASSAY_DATA ?= ../shared/data
# Real images, where they are: tests that need them skip without, and the demo needs none.
ifneq ($(wildcard $(ADVASSAY_DATA)),)
export ADVASSAY_DATA
endif
BIN := .venv/bin

.PHONY: setup demo test check bench docs clean
setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup  ## a whole small study on images made by the program, ends with its report
	$(BIN)/advassay run studies/demo.yaml --store runs/demo

test: setup  ## the tests, doctests included (about 10 minutes at most on 2 cores)
	$(BIN)/python -m pytest

check: setup  ## lint, format, types, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest src tests/contracts

bench: setup  ## side by side with torchattacks, Foolbox and ART (about 30 minutes)
	$(BIN)/python -m benchmarks.peers

docs: setup  ## write the command-line pages anew
	$(BIN)/python -m advassay.cli.reference docs/cli

clean:
	rm -rf runs build dist .pytest_cache .ruff_cache .mypy_cache
