# `make demo`: simulate a scan, reconstruct it, show the pictures. `make test`: all checks. Both set up .venv first.
# `make docker-test`: build the container images and run them; fails where nothing here can build.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test check format docker-test clean

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

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[report,service,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
