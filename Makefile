# The commands of the project. A fresh machine needs Python 3.11 with venv, gcc and make; the rest is set up here.
PYTHON ?= python3.11
ADVASSAY_DATA ?= ../shared/data
# Real images, where they are: tests that need them skip without, and the demo needs none.
ifneq ($(wildcard $(ADVASSAY_DATA)),)
export ADVASSAY_DATA
endif
BIN := .venv/bin

.PHONY: setup demo demo-compare test test-all test-base check bench docs clean
setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

demo: setup  ## a whole small study on images made by the program, ends with its report
	$(BIN)/advassay run studies/demo.yaml --store runs/demo

# The same cohorts and networks are taken over from the demo, so only the attack runs again.
COARSE := {C: {update: projected-sign, loss: margin, step_sizes: [epsilon], steps: 12, epsilons: [0.0005, 0.001, 0.002, 0.004, 0.008, 0.02], images: 80}}
demo-compare: setup  ## the demo's main arm with one coarse step of ε, and the two stores side by side
	test -d runs/demo/records || $(MAKE) demo
	mkdir -p runs/demo-coarse-step
	cp -r runs/demo/cohorts runs/demo/classifiers runs/demo/compute.json runs/demo-coarse-step
	cp runs/demo.sources.parquet runs/demo-coarse-step.sources.parquet
	$(BIN)/advassay run studies/demo.yaml --store runs/demo-coarse-step --set 'attack.arms=$(COARSE)' --set 'cohorts.H-BR.train_sizes=[]'
	$(BIN)/advassay compare runs/demo runs/demo-coarse-step -o compare.html

# One process a core, each with one thread: more threads than cores make PyTorch many times slower.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile
test: setup .venv-docs/.ready  ## the tests, doctests included, without those marked slow
	$(PYTEST) -m "not slow"

test-all: setup .venv-docs/.ready  ## those marked slow too: Ray, a job array
	$(PYTEST)

# An environment of its own, without what the extras install. It needs a package index, so it is no part of `make test`,
# which runs the same verbs with those libraries blocked.
test-base:  ## install the base alone, measure it, and run what it is for
	rm -rf build/base
	$(PYTHON) -m venv build/base
	build/base/bin/python -m pip install --quiet -c constraints.txt .
	build/base/bin/python tests/contracts/base_verbs.py build/base-store --installed

check: setup  ## lint, format, types (of the viewer's scripts too, where tsc is installed), doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --warn-unused-ignores --follow-imports=silent tests/contracts/typed_face.py
	$(BIN)/python -m pytest src tests/contracts
	@if command -v tsc > /dev/null; then tsc -p tests/viewer/jsconfig.json; else echo "The viewer's scripts are not type-checked: tsc (TypeScript) is not installed."; fi

bench: setup  ## side by side with torchattacks, Foolbox and ART (about 30 minutes)
	$(BIN)/python -m benchmarks.peers

docs: setup .venv-docs/.ready  ## the whole site in build/site; pages that follow from the program are written anew first
	$(BIN)/python -m advassay.cli.reference_pages docs/cli
	$(BIN)/python docs/site/api_summaries.py docs/api
	$(BIN)/python docs/site/error_texts.py docs/faq.md
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	$(BIN)/python docs/site/check_links.py build/site

.venv-docs/.ready: docs/site/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet -r docs/site/requirements.txt
	touch $@

clean:
	rm -rf runs build dist .pytest_cache .ruff_cache .mypy_cache
