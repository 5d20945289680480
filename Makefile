# gapless: `make` alone prints this help. Every target makes .venv when it is not there.
PYTHON ?= python3.11
PIP = .venv/bin/python -m pip --disable-pip-version-check -q
# Slow tests run where CI is set; elsewhere with SLOW=1.
SELECT = $(if $(CI)$(SLOW),,-m "not slow")
# More than cores: half of what a test does is to wait for processes, venues and the market.
WORKERS = $(if $(CI)$(SLOW),4,3)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock docs clean

help: ## print this help
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: .venv/run.done ## the whole path against a simulated venue that misbehaves (under two minutes)
	.venv/bin/gapless demo $(ARGS)

test: .venv/test.done ## every test (slow ones with SLOW=1)
	.venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(SELECT) $(ARGS)

check: .venv/dev.done ## ruff, mypy --strict, import layers, generated docs up to date
	.venv/bin/ruff check src tests benchmarks scripts
	.venv/bin/ruff format --check src tests benchmarks scripts
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python scripts/reference.py --check

bench: .venv/dev.done ## comparisons against peers, printed as ratios
	.venv/bin/python -m benchmarks $(ARGS)

docs: .venv/dev.done ## write the generated pages (docs/cli.md, docs/catalogue.md)
	.venv/bin/python scripts/reference.py

lock: .venv/dev.done ## resolve the dependencies again and pin them by hash
	.venv/bin/python scripts/lock.py

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache out

.venv/pip.done:
	$(PYTHON) -m venv .venv || python3 -m venv .venv
	@touch $@

.venv/%.done: requirements/%.lock pyproject.toml .venv/pip.done
	$(PIP) install --require-hashes --no-deps -r $<
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
