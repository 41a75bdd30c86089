# Two commands matter: `make demo` and `make test`. Each makes .venv first; only Python 3.11+ and make are needed.
PYTHON ?= python3
BIN := .venv/bin
STUBS := clients/python/podroute/v1

.PHONY: demo test check up proto lock format clean
.DEFAULT_GOAL := demo

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("podroute needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.installed  ## the whole thing in one minute, on an embedded cluster
	$(BIN)/podroute demo

test: .venv/.installed  ## the whole test suite
	$(BIN)/python -m pytest

check: .venv/.installed  ## style, types, layers, contract, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/python scripts/stubs.py --check

up: .venv/.installed  ## a primary, two pods and a router, until Ctrl-C
	$(BIN)/podroute up

proto: .venv/.installed  ## generate the stubs from proto/
	$(BIN)/python scripts/stubs.py

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## resolve requirements/*.txt anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev -o requirements/dev.txt pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra router -o requirements/router.txt pyproject.toml
	echo hatchling==1.33.0 | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements/build.txt -

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
