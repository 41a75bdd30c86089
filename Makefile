# Two commands matter: `make demo` and `make test`. Each makes .venv first; only Python 3.11+ and make are needed.
PYTHON ?= python3
BIN := .venv/bin
STUBS := clients/python/podroute/v1

.PHONY: demo test chaos soak check bench bench-smoke up proto lock format clean
.DEFAULT_GOAL := demo

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("podroute needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/.installed  ## the whole thing in one minute, on an embedded cluster
	$(BIN)/podroute demo

# Compiled modules are kept, whatever the environment says: every process imports them, and compiling the tests takes
# longer than loading them. Files go to the processes in the order of folders, those that start servers first.
test: export PYTHONDONTWRITEBYTECODE =
test: .venv/.installed .venv-vecs/.installed  ## the whole test suite; some tests run vecs itself
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --ignore tests/chaos
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/chaos

chaos: .venv/.installed  ## promises against real faults, some 20 minutes; CHAOS='--chaos-minutes 30' goes on for longer
	$(BIN)/python -m pytest tests/chaos --chaos full --timeout 7200 --chaos-publish $(CHAOS)

soak: .venv/.installed  ## two minutes of mixed load: what a router holds does not grow
	$(BIN)/python -m pytest tests/chaos/test_soak.py --chaos full --chaos-minutes 2 --timeout 600

check: .venv/.installed  ## style, types, layers, contract, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/python scripts/stubs.py --check

bench: .venv/.benchmarks .venv-vecs/.installed build/pgbouncer  ## all benchmarks, about an hour; BENCH='--only query' runs some
	$(BIN)/python -m benchmarks $(BENCH)

bench-smoke: .venv/.benchmarks .venv-vecs/.installed build/pgbouncer  ## the main ratios from a small run
	$(BIN)/python -m benchmarks --scale smoke $(BENCH)

.venv/.benchmarks: requirements/bench.txt .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

# vecs needs an older SQLAlchemy and psycopg2, which podroute has no use for.
.venv-vecs/.installed: requirements/vecs.txt
	$(PYTHON) -m venv .venv-vecs
	.venv-vecs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/vecs.txt
	touch $@

# PgBouncer where it is not installed: unpacked from Debian's packages, where there are any. Without it a ratio is null.
build/pgbouncer:
	mkdir -p $@
	PATH="$$PATH:/usr/sbin" command -v pgbouncer || { cd $@ && apt-get -qq download pgbouncer libevent-2.1-7 libc-ares2 \
		&& for package in *.deb; do dpkg -x "$$package" .; done; } || echo 'no PgBouncer'

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
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --constraint requirements/dev.txt --extra bench -o requirements/bench.txt pyproject.toml
	printf 'vecs==0.4.5\nsqlalchemy<2.1\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements/vecs.txt -
	echo hatchling==1.33.0 | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements/build.txt -

clean:
	rm -rf .venv .venv-vecs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
