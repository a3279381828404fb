# Two commands on a fresh machine: `make demo` and `make test`; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow lint fix schemas bench wheel clean

demo: $(VENV)/.demo
	$(BIN)/finedata demo --out demo-out

test: $(VENV)/.dev .venv-lerobot/.tried
	$(BIN)/python -m pytest -m "not slow"
	@echo "not run: tests marked slow (make test-slow)"

test-slow: $(VENV)/.dev .venv-lerobot/.tried
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: $(VENV)/.dev schemas
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(VENV)/.dev
	$(BIN)/python -m finedata.schema.publish

wheel: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) .venv-lerobot build dist demo-out

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[curate]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.demo

# The real lerobot, in an environment of its own, for the conformance tests; where it cannot be
# installed those tests are skipped and say so.
.venv-lerobot/.tried: tests/lerobot_oracle/requirements.txt tests/lerobot_oracle/install.sh
	@bash tests/lerobot_oracle/install.sh || echo "lerobot could not be installed: its tests are skipped"
	@mkdir -p .venv-lerobot && touch $@
