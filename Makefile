# Every command of this project, the same on a laptop and in CI. Needs Python 3.11–3.13 and make; `make help` lists all.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3 || command -v python || command -v python3.13 || command -v python3.12 || command -v python3.11)
PY := .venv/bin/python
BOOTSTRAP = $(if $(PYTHON),$(PYTHON),$(error SIEIS needs Python 3.11, 3.12 or 3.13, and no Python is on the PATH)) scripts/bootstrap.py
REPORTS := var/reports
ARGS ?=
# A file's tests stay in one process; the browser's come last there.
PYTEST := pytest -n 2 --dist loadfile
WITHOUT_SERVERS := $(PYTEST) -m "not service" --junitxml=$(REPORTS)/tests.xml

# What `manage.py` needs to look at the code without touching anybody's data.
SCRATCH := SIEIS_EMBEDDED=1 SIEIS_DATA=var/check
# A server as docs/deployment.md describes it: addresses that nobody has to answer, https, a key.
LIKE_A_SERVER := env -u SIEIS_EMBEDDED SIEIS_DATA=var/check SIEIS_HTTPS=1 SIEIS_SECRET_KEY="$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	DATABASE_URL=postgres://sieis@db.invalid/sieis REDIS_URL=redis://redis.invalid KAFKA_BOOTSTRAP_SERVERS=kafka.invalid:9092 \
	INFLUXDB_V2_URL=http://influxdb.invalid S3_ENDPOINT_URL=http://s3.invalid

.PHONY: help run test check test-services bench fmt vendor

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=8080 make run       another port"
	@echo "  SIEIS_DATA=DIR make run  another data folder (default: var)"
	@echo "  make test ARGS='-k word' only some tests"

run: ## The whole system in one process, with demo sensors: http://127.0.0.1:8000
	@$(BOOTSTRAP) base
	@SIEIS_EMBEDDED=1 SIEIS_DEMO=1 exec $(PY) scripts/foreground.py $(PY) manage.py serve

test: ## All tests that need no server
	@$(BOOTSTRAP) dev
	@mkdir -p $(REPORTS)
	@$(PY) scripts/compile_kernels.py
	@exec $(PY) -m $(WITHOUT_SERVERS) $(ARGS)

check: ## Everything that must hold before a commit: style, types, imports, secrets, tests, coverage
	@$(BOOTSTRAP) dev
	@rm -rf $(REPORTS)/coverage $(REPORTS)/tests.xml $(REPORTS)/javascript.xml && mkdir -p $(REPORTS)/coverage
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	@echo mypy
	@$(SCRATCH) $(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command as c; c(["--no-cache", "--no-logo"])'
	$(PY) scripts/secret_scan.py
	$(PY) scripts/audit.py
	@echo manage.py check
	@$(SCRATCH) $(PY) manage.py check
	@echo "manage.py check --deploy, as a server is set up"
	@$(LIKE_A_SERVER) $(PY) manage.py check --deploy --fail-level WARNING
	@$(SCRATCH) $(PY) manage.py makemigrations --check --dry-run
	@$(PY) scripts/compile_kernels.py
	$(PY) -m coverage run -m $(WITHOUT_SERVERS) $(ARGS)
	@$(PY) -m coverage combine -q && $(PY) -m coverage json -q -o $(REPORTS)/coverage.json
	$(PY) scripts/coverage_by_app.py $(REPORTS)/coverage.json
	@scripts/test-javascript $(REPORTS)/javascript.xml

test-services: ## The same promises against real servers: eval "$(deploy/native-services env)" names them
	@$(BOOTSTRAP) dev
	@mkdir -p $(REPORTS)
	@$(PY) scripts/compile_kernels.py
	@exec $(PY) -m $(PYTEST) -m service --junitxml=$(REPORTS)/services.xml $(ARGS)

bench: ## How fast and how well it does on this machine, where no data set and no server is needed; one JSON object ends each report
	@$(BOOTSTRAP) dev
	@for program in $$(grep -LE '"--data"|_servers' bench/[a-z]*.py); do echo "== $$program"; PYTHONPATH=. $(PY) $$program; done

fmt: ## Formats the code and mends what can be mended
	@$(BOOTSTRAP) dev
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

vendor: ## Renews the front end's vendored libraries from package.json (needs Node)
	npm ci --ignore-scripts --no-audit --no-fund
	node scripts/vendor.mjs
