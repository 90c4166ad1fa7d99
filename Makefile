# make run    set up, then execute notebook.ipynb on the demo corpus (or on FMA: see its first cell)
# make app    set up, then open a page to drop songs on (after `make run`, or with any trained run)
# make test   set up, then run the tests
# make check  lint and the fast tests
# Without make: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/jupyter lab

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
READY_APPS := .venv/ready-apps
READY_DEV := .venv/ready-dev

.PHONY: run app test check lint bench clean

run: $(READY)
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False notebook.ipynb
	@echo "Executed notebook.ipynb; open it with: $(BIN)/jupyter lab notebook.ipynb"

app: $(READY_APPS)
	$(BIN)/python -m scripts try_it

test: $(READY_DEV)
	$(BIN)/python -m pytest

lint: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest tests/test_structure.py tests/config tests/metrics tests/tables tests/training

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv data/demo data/notebook runs/logs runs/checkpoints runs/reports .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(READY): requirements.txt requirements-base.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(READY_APPS): requirements-apps.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-apps.txt
	@touch $@

$(READY_DEV): requirements-dev.txt requirements-apps.txt requirements-cluster.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
