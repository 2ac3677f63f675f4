# `make demo`: simulate a scan, reconstruct it, show the pictures. `make test`: all checks. Both set up .venv first.
# `make test-bare`: the tests without any extra. `make test-oldest`: that with the oldest libraries allowed, and Python 3.10 if it is there.
# `make test-wheel`: the wheel in an environment of its own, without extras, from another folder.
# `make docs`: build the pages in docs/ into build/docs.
# `make docker-test`: build the container images and run them; fails where nothing here can build.

PYTHON ?= python3
OLDEST ?= $(shell command -v python3.10 || echo $(PYTHON))
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# two at a time, each on one thread
PYTEST := python -m pytest -n 2 --dist loadfile
test test-bare test-oldest: export OMP_NUM_THREADS = 1

.PHONY: demo test test-bare test-oldest test-wheel check format docker-test docs clean

demo: $(VENV)/installed
	mkdir -p $(DEMO)
	$(BIN)/untrained-recon simulate -o $(DEMO)/scan.h5
	$(BIN)/untrained-recon inspect $(DEMO)/scan.h5
	$(BIN)/untrained-recon replay $(DEMO)/scan.h5 -o $(DEMO)/images.h5 --png $(DEMO)/png
	$(BIN)/untrained-recon compare $(DEMO)/scan.h5 $(DEMO)/images.h5 --png $(DEMO)/panel.png
	@echo "raw data $(DEMO)/scan.h5, images $(DEMO)/images.h5, pictures $(DEMO)/png/ and $(DEMO)/panel.png"

test: check
	$(BIN)/$(PYTEST)

test-bare: build/bare/installed
	build/bare/bin/$(PYTEST)

test-wheel:
	tests/wheel.sh $(PYTHON)

test-oldest: build/oldest/installed
	build/oldest/bin/$(PYTEST) -W default # old libraries warn of one another

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docker-test: $(VENV)/installed
	$(BIN)/python docker/image_test.py

docs: $(VENV)/docs
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "pages build/docs/index.html"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[report,export,service,web,cluster,dev]'
	touch $@

build/bare/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/bare
	build/bare/bin/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

build/oldest/installed: pyproject.toml constraints-oldest.txt
	$(OLDEST) -m venv build/oldest
	build/oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable '.[test]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build
