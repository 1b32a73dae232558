# make demo and make test set up .venv by themselves; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread per process: two processes that each use every core slow torch
# down by an order of magnitude.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-fast fuzz lint docs bench clean help

help:
	@echo "make demo   train small models, print their scaling exponents, write demo/"
	@echo "make test   run every test, doctest and example"
	@echo "make fuzz   give odd files, tables, networks and parameters to the package"
	@echo "make lint   ruff, mypy and numpydoc"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make bench  run every benchmark"

demo: $(VENV)/.installed
	$(BIN)/scalinglaw demo --output demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow"

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m numpydoc.hooks.validate_docstrings $$(git ls-files 'scalinglaw/*.py')

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after its install succeeded, so a broken one is retried.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-docs: \
$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo docs/_build docs/gallery docs/api/generated
