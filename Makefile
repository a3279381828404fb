# Two commands on a fresh machine: `make demo` and `make test`; each does its own set-up, with the
# versions of constraints.txt, which `make lock` writes.
PYTHON ?= python3
JOBS ?= logical
# `make test TORCH=0` leaves torch, and the tests that need it, out.
TORCH ?= 1
VENV := .venv
BIN := $(VENV)/bin
# `-c` does not reach the environments in which pip builds, `--build-constraint` does.
LOCKED := -c constraints.txt --build-constraint constraints.txt
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# Groups of tests move to whichever worker is idle.
PYTEST := -m pytest -n $(JOBS) --dist worksteal -m "not slow"
ifeq ($(TORCH),0)
TORCH_INSTALLED :=
PYTEST += --ignore tests/train
else
TORCH_INSTALLED := $(VENV)/.torch
endif

# The tests start hundreds of processes; where bytecode is not kept, each compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-train demo-corpus test test-slow test-newest test-oldest lint types fix lock schemas docs figures wheel release clean

demo: $(VENV)/.demo
	$(BIN)/finedata demo --out demo-out

# Goes on from the demo's shards: a minute of training, what was learnt on held-out episodes, and the
# policy served and asked along two of them.
demo-train: $(VENV)/.torch demo
	rm -rf demo-out/run
	$(BIN)/finedata train tiny_oft --shards demo-out/shards --out demo-out/run --device cpu \
	  --set steps=160 --set eval_every=160 --set eval_samples=48 --set 'cameras=["image_0"]'
	$(BIN)/finedata serve demo-out/run --device cpu --replay demo-out/bridge \
	  --shards demo-out/shards --episodes 2 --out demo-out/replay.html
	@echo "next: $(BIN)/finedata train report demo-out/run --out demo-out/run.html"
	@echo "next: $(BIN)/finedata serve demo-out/run"

test: $(VENV)/.dev $(TORCH_INSTALLED) .venv-lerobot/.tried .venv-openpi/.tried
	$(BIN)/python $(PYTEST)
	@echo "not run: tests marked slow (make test-slow)"
ifeq ($(TORCH),0)
	@echo "not run: tests/train and some of tests/serve, which need torch (make test)"
endif

test-slow: $(VENV)/.dev $(TORCH_INSTALLED) .venv-lerobot/.tried .venv-openpi/.tried
	$(BIN)/python -m pytest -m slow

# What a user gets today who installs without our lock.
test-newest: .venv-lerobot/.tried .venv-openpi/.tried
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP_INSTALL) --upgrade pip
	.venv-newest/bin/python $(PIP_INSTALL) -e ".[dev,remote]"
	.venv-newest/bin/python $(PYTEST)

# Every lower bound of pyproject.toml, but those of the extras `train` and `cuda`: gigabytes of CUDA.
test-oldest: .venv-lerobot/.tried .venv-openpi/.tried
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python $(PIP_INSTALL) -c constraints.txt pip
	$(PYTHON) .ci/lower_bounds.py > .venv-oldest/bounds.txt
	.venv-oldest/bin/python $(PIP_INSTALL) -c .venv-oldest/bounds.txt -e ".[dev,remote]"
	.venv-oldest/bin/python $(PYTEST)

# tests/test_doors.py, and so `make test`, runs all of these but pyright.
lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/pyright

fix: $(VENV)/.dev schemas
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps what still fits; `make lock UPGRADE=--upgrade` takes the newest of everything.
lock: | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(UPGRADE) --all-extras \
	  --excludes constraints.exclude --annotation-style line --custom-compile-command "make lock" \
	  --output-file constraints.txt \
	  pyproject.toml constraints.in tests/lerobot_oracle/requirements.txt

# The packed corpus of `finedata demo`.
demo-corpus: $(VENV)/.dev
	$(BIN)/python tests/corpora/pack_demo.py

schemas: $(VENV)/.dev
	$(BIN)/python -m finedata.schema.publish

# The site, into build/site; needs no network once the environment is made.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "next: $(PYTHON) -m http.server --directory build/site 8000"

# The figures of docs/how, which are committed; docs/_site/pictures.py takes the tutorial's, with a browser.
figures: $(VENV)/.dev
	$(BIN)/python docs/_site/figures.py

wheel: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# Builds, checks and installs a release in an empty environment; uploads nothing.
release: $(VENV)/.dev
	.ci/release.sh

clean:
	rm -rf $(VENV) .venv-lerobot .venv-openpi .venv-newest .venv-oldest build dist demo-out

# pip first: the one that comes with Python may be too old for `--build-constraint`.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$@ $(PIP_INSTALL) -c constraints.txt pip setuptools

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) $(LOCKED) -e ".[curate]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) $(LOCKED) -e ".[dev]"
	@touch $@ $(VENV)/.demo

$(VENV)/.torch: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "downloading torch: several GB where its usual build is taken; TORCH=0 does without it"
	$(BIN)/python $(PIP_INSTALL) $(LOCKED) -e ".[dev,train,steer]"
	@touch $@ $(VENV)/.dev $(VENV)/.demo

# The real lerobot, in an environment of its own, for the conformance tests; where it cannot be
# installed those tests are skipped and say so.
.venv-lerobot/.tried: tests/lerobot_oracle/requirements.txt tests/lerobot_oracle/install.sh constraints.txt
	@bash tests/lerobot_oracle/install.sh || echo "lerobot could not be installed: its tests are skipped"
	@mkdir -p .venv-lerobot && touch $@

# openpi's client, for the conformance test of serving; where it cannot be installed that test is
# skipped and says so.
.venv-openpi/.tried: tests/openpi_client/install.sh | $(VENV)/bin/python
	@PYTHON=$(BIN)/python bash $< || echo "openpi-client could not be installed: its test is skipped"
	@mkdir -p .venv-openpi && touch $@
