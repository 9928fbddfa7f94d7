# Everything a fresh machine with Python 3.11+ and make needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
NAS := $(VENV)/bin/nas
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test bench lint typed install clean

demo: $(VENV)/installed
	$(NAS) search configs/digits.yaml
	$(NAS) front runs/digits --pick knee --png runs/digits/front.png --html runs/digits/front.html
	$(NAS) retrain runs/digits --pick knee

test: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal  # a process a core, each with one thread

bench: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

lint: typed
	$(VENV)/bin/python -m pytest tests/test_architecture.py

typed: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

install: $(VENV)/installed

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info
