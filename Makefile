# `make demo` and `make test` need python3 (3.11 or newer) and make; each makes its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo test test-peers peers format sample clean

demo: $(VENV)/demo.stamp
	$(BIN)/python -m experiments.unfolding demo --out $(RUN) --resume

test: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# With PyTorch (a large download) the tests of .pt files and of benchmarks against it run as well.
test-peers: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[peers]'
	$(BIN)/python -m pytest -q tests/porting tests/benchmarks

# PyTorch and lgatr in an environment of their own, for benchmarks.gpu (a large download).
peers: $(VENV)/demo.stamp
	$(BIN)/python -m benchmarks.peers.client --name lgatr-2.0.0 --folder .venv-peers

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The samples that ship inside the package (about a minute on one core).
sample: $(VENV)/test.stamp
	for variant in simulation data; do $(BIN)/jaxpriors data simulate zjets --variant $$variant \
	    --events 20000 --seed 1 --out jaxpriors/data/samples/zjets_$$variant.h5 --overwrite; done

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/made.stamp:
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/demo.stamp: pyproject.toml | $(VENV)/made.stamp
	@echo "installing jaxpriors into $(VENV) (about a minute)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/test.stamp: pyproject.toml | $(VENV)/made.stamp
	@echo "installing jaxpriors and the tools of its tests into $(VENV) (about a minute)"
	$(BIN)/python -m pip install --quiet --editable '.[simulation,test]'
	touch $@
