# The first target that runs is `make` alone: it lists the others.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo figures reference test check clean

help:
	@echo "make install   make $(VENV) with cosweep and its tools"
	@echo "make demo      run search_spaces/quickstart.yaml: about 3 minutes on two cores"
	@echo "make figures   draw the pictures of README.md and docs anew: about half an hour"
	@echo "make reference write docs/reference.md anew: menus and columns"
	@echo "make test      all tests"
	@echo "make check     lint, format, types, layers"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/cosweep run search_spaces/quickstart.yaml

figures: $(READY)
	$(BIN)/python docs/figures.py

reference: $(READY)
	$(BIN)/python docs/reference.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 -m "not integration and not slow"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "integration or slow"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
