# `make demo`: simulate a scan, reconstruct it, show the pictures. `make test`: all checks. Both set up .venv first.
# `make docs`: build the pages in docs/ into build/docs.
# `make docker-test`: build the container images and run them; fails where nothing here can build.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test check format docker-test docs clean

demo: $(VENV)/installed
	mkdir -p $(DEMO)
	$(BIN)/untrained-recon simulate -o $(DEMO)/scan.h5
	$(BIN)/untrained-recon inspect $(DEMO)/scan.h5
	$(BIN)/untrained-recon replay $(DEMO)/scan.h5 -o $(DEMO)/images.h5 --png $(DEMO)/png
	$(BIN)/untrained-recon compare $(DEMO)/scan.h5 $(DEMO)/images.h5 --png $(DEMO)/panel.png
	@echo "raw data $(DEMO)/scan.h5, images $(DEMO)/images.h5, pictures $(DEMO)/png/ and $(DEMO)/panel.png"

test: check
	$(BIN)/python -m pytest

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
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[report,export,service,dev]'
	touch $@

$(VENV)/docs: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build/docs
