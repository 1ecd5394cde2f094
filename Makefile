# Everything a person calls, and CI calls the same. GNU make 3.81 or later. `make help` prints the lines with two hashes.

## Duet: extract embeddings once, fuse many times. Each target does its own set-up, once.
##
## help      this text
## setup     make the virtual environment and install everything, pinned
## demo      write a small corpus, extract, train, report              (DEVICE ARGS)
## extract   stage one: media files to cached embeddings               (CONFIG STORE DEVICE ARGS)
## fuse      stage two: train and score fusion models on the cache     (CONFIG MODEL SEEDS STORE DEVICE ARGS)
## report    the scores so far, as HTML and JSON                       (CONFIG STORE ARGS)
## test      the quick tests                                           (ARGS)
## test-all  every test                                                (ARGS)
## check     lint, layout and types
## format    lay the code out, and mend what the linter can
## clean     remove the tools' own caches; never the store, the runs or the environment
##
## CONFIG      recipe                                       pipeline/recipes/demo.yaml
## MODEL       one fusion model                             those of the recipe
## SEEDS       number of seeds                              as in the recipe
## STORE       store of embeddings, name.zarr               as in the recipe
## DEVICE      auto, cpu, cuda or mps                       auto
## ARGS        added to the command as they are; for extract, fuse and report key.path=value too
## PY          Python to make the environment with          python3, then the environment's own
## VENV        folder of the environment                    .venv
## TORCH_INDEX package index of torch; one that ends in /cpu saves 4 GB, and is kept until VENV is removed

# Set with := so that only the command line changes them, never a variable that happens to be in the shell.
CONFIG := pipeline/recipes/demo.yaml
MODEL :=
SEEDS :=
STORE :=
DEVICE := auto
ARGS :=
PY := python3
VENV := .venv
TORCH_INDEX :=

SOURCES := cache extract fuse pipeline
BIN := $(VENV)/bin
REST = $(if $(STORE), store=$(STORE))$(if $(ARGS), $(ARGS))

# A variable that the target does not take, or a misspelt one, would have no effect: refuse it.
TAKES_demo := DEVICE ARGS
TAKES_extract := CONFIG STORE DEVICE ARGS
TAKES_fuse := CONFIG MODEL SEEDS STORE DEVICE ARGS
TAKES_report := CONFIG STORE ARGS
TAKES_test := ARGS
TAKES_test-all := ARGS
TAKEN := PY VENV TORCH_INDEX SHELL $(foreach goal,$(MAKECMDGOALS),$(TAKES_$(goal)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
REFUSED := $(filter-out $(TAKEN),$(GIVEN))
ifneq ($(REFUSED),)
$(error make $(MAKECMDGOALS) takes no $(REFUSED); see make help)
endif
ifneq ($(words $(VENV)),1)
$(error VENV must be one folder without spaces, not "$(VENV)"; see make help)
endif

# Without PY, an environment that is there is kept on its own Python: make setup PY=python3.12 once, then plain make test.
define SETUP
py='$(PY)'; \
$(if $(filter PY,$(GIVEN)),,if '$(BIN)/python' -c '' 2>/dev/null; then py='$(BIN)/python'; fi;) \
command -v "$$py" >/dev/null || { \
echo "set-up: no $$py here; install Python 3.11 or later, or name the one you have: make setup PY=python3.12" >&2; exit 2; }; \
"$$py" -I pipeline/bootstrap.py --venv '$(VENV)'$(if $(TORCH_INDEX), --torch-index '$(TORCH_INDEX)')
endef

.PHONY: help setup demo extract fuse report test test-all check format clean ready
.NOTPARALLEL:

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

ready:
	@$(SETUP)

setup: ready
	@echo '$(VENV) is ready'

test test-all demo: export HF_HUB_OFFLINE := 1
test test-all demo: export OMP_WAIT_POLICY := PASSIVE

# Its own set-up, not through ready, so that the two times are told apart.
demo:
	@begun=$$(date +%s); $(SETUP) && ready=$$(date +%s) && \
	$(BIN)/duet demo --device $(DEVICE)$(REST) && \
	echo "set-up $$((ready - begun)) s, demo $$(($$(date +%s) - ready)) s"

extract: ready
	$(BIN)/duet extract $(CONFIG) --device $(DEVICE)$(REST)

fuse: ready
	$(BIN)/duet fuse $(CONFIG)$(if $(MODEL), --model $(MODEL))$(if $(SEEDS), --seeds $(SEEDS)) --device $(DEVICE)$(REST)

report: ready
	$(BIN)/duet report $(CONFIG)$(REST)

# Two workers: more would each load torch, and each use every core.
test: ready
	$(BIN)/python -m pytest -q -n 2 -m "not slow"$(REST)

test-all: ready
	$(BIN)/python -m pytest -q -n 2$(REST)

check: ready
	$(BIN)/ruff check $(SOURCES) tests
	$(BIN)/ruff format --check $(SOURCES) tests
	$(BIN)/mypy $(SOURCES)

format: ready
	$(BIN)/ruff check --fix-only $(SOURCES) tests
	$(BIN)/ruff format $(SOURCES) tests

clean:
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
