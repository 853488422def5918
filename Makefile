# Two commands for a newcomer: `make demo` and `make test`. Both install what they need into .venv and start their own servers.
.DEFAULT_GOAL := help
PYTHON ?= python3
PY := .venv/bin/python
# Plain pip: it takes the CPU build of torch where one is at hand. Pins are in constraints.txt. Its own bars fill the terminal, so it is quiet, and dots say that it works.
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --use-pep517 --constraint constraints.txt --editable
DOTS = & pip=$$!; trap 'kill $$pip 2>/dev/null' INT TERM; beat=0; \
	while kill -0 $$pip 2>/dev/null; do sleep 1; beat=$$((beat + 1)); [ $$((beat % 10)) -gt 0 ] || printf .; done; echo; wait $$pip

.PHONY: help demo test test-slow chaos fuzz check docs audit up down bench-training bench-accuracy bench-anomaly bench-api bench-streams bench-celery clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: .venv/demo ## Watch real series being trained and forecast; DATA=file.parquet for your own
	$(PY) -m ops.cli demo $(if $(DATA),--data "$(DATA)") $(DEMO)

# Files go to the processes in their order, the long ones of acceptance first: by their number of tests these would come last, one process alone.
test: .venv/dev ## Run the tests; they start their own Postgres and Valkey
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(TESTS)

test-slow: .venv/dev ## Run the tests that take minutes each, on the series below FLEETCAST_TEST_DATA
	$(PY) -m pytest -m slow $(TESTS)

chaos: .venv/dev ## Let everything fail while jobs run, and see what is lost: MINUTES=8, SEED=… to do it again, CHAOS=--production
	$(PY) -m tests.chaos.campaign --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED)) $(CHAOS)

fuzz: .venv/dev ## Ask every operation of the API at random for a while: MINUTES=10, FUZZ_SEED=… to do it again
	FUZZ_MINUTES=$(or $(MINUTES),10) $(PY) -m pytest -m fuzz tests/fuzz $(TESTS)

check: .venv/dev ## Lint, types, the one direction of imports, and the images' files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache
	@if [ -x .venv/bin/hadolint ]; then .venv/bin/hadolint Dockerfile.web Dockerfile.gpu-worker && echo "hadolint: both Dockerfiles are good"; \
	else echo "hadolint is left out: its package has no build for this machine"; fi
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

docs: .venv/dev ## Build the documentation site into build/site; a broken link is an error
	$(PY) -m ops.site build/docs
	.venv/bin/zensical build --clean --strict --config-file mkdocs.yml

audit: .venv/dev ## Look up every version of constraints.txt among known vulnerabilities; needs a network
	$(PY) .ci/audit.py

up: .venv/demo ## Start everything in the foreground
	$(PY) -m ops.cli up

down: .venv/demo ## Stop what `make up` started elsewhere
	$(PY) -m ops.cli down

bench-training: .venv/dev ## Compare how long training takes with a textbook loop, Darts and NeuralForecast: BENCH="--sets nab --fresh"
	OMP_NUM_THREADS=1 $(PY) -m bench.training $(BENCH)

bench-accuracy: .venv/dev ## Compare forecasts with baselines, classics and those libraries: BENCH="--sets nab --seeds 1"
	OMP_NUM_THREADS=1 $(PY) -m bench.accuracy $(BENCH)

bench-anomaly: .venv/dev ## Score the alarms on the labelled series below FLEETCAST_TEST_DATA: BENCH="--processes 2"
	OMP_NUM_THREADS=1 $(PY) -m bench.anomaly $(BENCH)

bench-api: .venv/dev ## Compare submitting and polling with the least Flask app that does either
	$(PY) -m bench.api

bench-streams: .venv/dev ## Measure submits and polls while hundreds of clients watch
	$(PY) -m bench.streams

bench-celery: .venv/dev ## Count what plain Celery on Redis loses when its workers are killed: BENCH="--seed 1"
	$(PY) -m bench.celery_loss $(BENCH)

clean: ## Remove the installation and caches
	rm -rf .venv .venv-rivals build client/build .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output guide-output *.egg-info client/*.egg-info

.venv/python: constraints.txt
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer with venv is needed; name it with PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/python pyproject.toml client/pyproject.toml
	@echo "Installing into .venv: minutes the first time, most of it PyTorch …"
	@$(INSTALL) '.[demo]' --editable client $(DOTS)
	@touch $@

.venv/dev: .venv/python pyproject.toml client/pyproject.toml
	@echo "Installing into .venv: minutes the first time, most of it PyTorch …"
	@$(INSTALL) '.[dev]' --editable client $(DOTS)
	@touch $@ .venv/demo
