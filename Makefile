# `make demo` and `make test` need python3 (3.11 or newer) and make; each makes its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo test test-peers lint format sample clean

demo: $(VENV)/demo.stamp
	$(BIN)/python -m experiments.unfolding quick --out $(RUN) --resume

test: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

# The checks that need PyTorch and lgatr themselves (large downloads).
test-peers: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[peers]'
	$(BIN)/python -m pytest -q -m peers

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The sample that ships inside the package (about two minutes).
sample: $(VENV)/test.stamp
	$(BIN)/jaxpriors data sample

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/demo.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxpriors into $(VENV) (about a minute)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/test.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxpriors and the tools of its tests into $(VENV) (about a minute)"
	$(BIN)/python -m pip install --quiet --editable '.[simulation,test]'
	touch $@
