VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := nncf_mcq openvino_eval
SOURCES := $(PACKAGES) $(wildcard recipes benchmarks docs) tests
TEXTS := $(SOURCES) $(wildcard *.md)
# Packages that call this one: each has a lock and tests, and an environment of its own, as two NNCF cannot live in one.
HOSTS := $(patsubst tests/hosts/%.txt,%,$(wildcard tests/hosts/*.txt))

.DEFAULT_GOAL := help
.PHONY: help install demo docs test test-all test-hosts coverage mutants lint format clean

# NNCF and OpenVINO send telemetry unless they see a CI: tests may not depend on a network. Users decide for themselves.
test test-all test-hosts coverage: export CI := true
test test-all test-hosts coverage: export NNCF_CI := 1
# One thread for each of the processes that the tests are shared out to, file by file.
test test-all test-hosts coverage: export OMP_NUM_THREADS := 1
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

# Creates a virtual environment in a folder, unless there is one that works. One that was killed while packages were
# installed is made anew: pip may take a package of which it wrote half for whole.
define create_environment
	@if [ -e $(1)/.incomplete ] || ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
		for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
			if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				echo "creating $(1) with $$($$candidate --version)"; \
				$$candidate -m venv --clear $(1) || exit 1; \
				break; \
			fi; \
		done; \
		[ -x $(1)/bin/python ] || { echo "error: Python 3.11 or newer is needed; name one: make install PYTHON=..." >&2; exit 1; }; \
	fi
endef

# Installs into an environment what pip is told to.
define install_packages
	@touch $(1)/.incomplete
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2); status=$$?; rm $(1)/.incomplete; exit $$status
endef

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Create .venv with the locked dependencies (again only if pyproject.toml or the lock changed)

$(STAMP): pyproject.toml constraints.txt
	$(call create_environment,$(VENV))
	@echo "installing dependencies (the first time takes minutes)"
	@# Of one version pip prefers a CPU build of PyTorch, 2.x+cpu, to 2.x, where one is on its indexes: docs/install.md.
	$(call install_packages,$(VENV),-c constraints.txt -e '.[dev]')
	@touch $@

demo: install  ## Quantize a small trained network, end to end, offline
	@$(BIN)/python recipes/compare.py fashion_mnist --set dataset.full_root=null --output build/demo

docs: install  ## Build the documentation in build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "documentation: build/site/index.html"

# The hooks in .pre-commit-config.yaml run the same commands; tests/test_tooling.py compares them.
lint: install  ## Check style, spelling and types
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES) || { echo "error: unformatted files, run: make format" >&2; exit 1; }
	@$(BIN)/codespell $(TEXTS)
	@$(BIN)/mypy --no-error-summary
	@echo "lint and types: ok"

test: lint  ## Lint, types and the fast tests
	@$(PYTEST)

test-all: lint  ## The same with the slow tests, which need ../shared/data
	@$(PYTEST) -m ""

test-hosts: $(HOSTS:%=test-host-%)  ## The tests inside NNCF 2 and other hosts, each in an environment of its own (5 GB each)

# Command lines that tests start find the package here; it is not installed.
test-host-%: export PYTHONPATH := $(CURDIR)
test-host-%: build/hosts/%/.installed
	@build/hosts/$*/bin/python -m pytest -q tests/hosts/$*

.PRECIOUS: build/hosts/%/.installed
build/hosts/%/.installed: tests/hosts/%.txt pyproject.toml
	$(call create_environment,build/hosts/$*)
	@echo "installing the packages of $< (the first time takes minutes)"
	$(call install_packages,build/hosts/$*,-r $<)
	@touch $@

# Python 3.11 counts lines slowly, by half of the tests' own time: this is no part of `make test`.
coverage: install  ## The fast tests with the lines that they run: the total and the least covered files
	@$(PYTEST) --cov --cov-report=
	@$(BIN)/coverage report --skip-covered --sort=cover >build/coverage.txt
	@sed -n '1,17p' build/coverage.txt; grep '^TOTAL' build/coverage.txt

# A mutant takes a second or two, a group minutes: MUTANTS="packing export --share 0.2".
mutants: install  ## Break the code behind the promises: a mistake that no test notices is an error (MUTANTS=GROUP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	@$(BIN)/python -m tests.mutants $(MUTANTS)

format: install  ## Format the code and fix what can be fixed safely
	@$(BIN)/ruff check --quiet --fix-only $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

clean:  ## Remove what was built; keeps .venv
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +
