# Madang from a checkout: Python 3.11 to 3.13 and make are all that has to be there.
PYTHON ?= python3
BIN := .venv/bin
TEST_FLAGS ?=

.PHONY: help setup demo test up bench lint clean

help:            ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/.installed: requirements.lock pyproject.toml deploy/setup.py
	@$(PYTHON) deploy/setup.py

setup: .venv/.installed  ## Make .venv and install the locked packages.

demo: setup      ## Run the main job on the stand-in agency and print where to look.
	@$(BIN)/madang demo

test: setup      ## Run every test that this machine allows; ends by naming what it could not run.
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TEST_FLAGS)

up: setup        ## The Dagster UI on http://127.0.0.1:3000, reports and sets on :3001.
	@$(BIN)/madang up

bench: setup     ## The benchmarks, side by side with what they are compared to.
	@$(BIN)/python -m tests.benchmarks

lint: setup      ## ruff, mypy --strict and the import contract.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean:           ## Remove the environment and the state of both demos.
	rm -rf .venv .madang .madang-data dbt_project/target
