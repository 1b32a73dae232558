# make demo and make test set up .venv by themselves; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
# constraints-oldest.txt holds the lower bounds of pyproject.toml, for Python 3.10.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# One thread per process: two processes that each use every core slow torch
# down by an order of magnitude.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-fast fuzz lint docs bench rehearsal clean help

help:
	@echo "make demo   train small models, print their scaling exponents, write demo/"
	@echo "make test   run every test, doctest and example; test-fast leaves out slow ones"
	@echo "make fuzz   give odd files, tables, networks and parameters to the package"
	@echo "make lint   ruff, mypy and numpydoc"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make bench  run every benchmark"
	@echo "make rehearsal  build the wheel and use it from an empty environment"

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

# What is only in the clone (a template, a data file) is missed here, and nowhere else.
rehearsal:
	rm -rf build dist $(VENV)-release
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet build
	$(VENV)-release/bin/python -m build --wheel --outdir dist
	$(VENV)-release/bin/python -m pip install --quiet -c $(CONSTRAINTS) dist/*.whl
	cd $$(mktemp -d) && export PATH="$(abspath $(VENV)-release)/bin:$$PATH" && \
	scalinglaw --version && scalinglaw demo --help > /dev/null && \
	scalinglaw run --model mlp --data digits --output study \
	    --set "sweep.train_sizes=[50,100,200,400]" --set sweep.n_seeds=2 \
	    --set models.mlp.max_epochs=20 && \
	test -s study/report.html && \
	python -c "import scalinglaw, pathlib; home = pathlib.Path(scalinglaw.__file__).parent; \
	    assert 'site-packages' in str(home); assert (home / 'py.typed').exists()"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after its install succeeded, so a broken one is retried.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-docs: \
$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-release build dist *.egg-info demo docs/_build docs/gallery docs/api/generated
