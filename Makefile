# Two commands to know: `make demo` and `make test`. Each makes the environment itself; a second call starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# torch is the CPU build unless a GPU is asked for (GPU=1). Where pip would pull CUDA all the same, make stops and says what to do.
TORCH ?= torch==2.13.0
export TORCH_INDEX ?=
GPU ?= 0
PIP_TORCH_INDEX := $${TORCH_INDEX:+--index-url "$$TORCH_INDEX"}

# Paths may hold spaces: they go to `petar` through the environment, never through a function of make that splits words.
HOME_DIR ?= $(or $(PETAR_HOME),data)
export PETAR_HOME := $(HOME_DIR)
export PETAR_COHORT := $(or $(COHORT),$(PETAR_COHORT))
export PYTHONWARNINGS ?= ignore
# What `petar COMMAND --help` lists beside these: make curate ARGS='--strict'.
ARGS ?=

.PHONY: help env demo curate rerun accept gallery train evaluate ablate study export followup ui query vllm vllm-stop test test-walk test-vllm test-slurm lint loc bench fuzz soak docs screenshots lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

env: $(READY) ## the Python environment in .venv

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ "$(GPU)" != 1 ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
	  $(BIN)/pip install --quiet --dry-run --report - $(PIP_TORCH_INDEX) "$(TORCH)" | $(BIN)/python -c 'import json, sys; \
	  big = [p["metadata"]["name"] for p in json.load(sys.stdin)["install"] if p["metadata"]["name"].startswith("nvidia")]; \
	  sys.exit(f"expected the CPU build of $(TORCH), pip would install {len(big)} CUDA packages: run make with TORCH_INDEX=<the index of CPU wheels in the installation page of PyTorch>, or with GPU=1 if CUDA is wanted" if big else 0)'; fi
	$(BIN)/pip install --quiet $(PIP_TORCH_INDEX) "$(TORCH)"
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY) ## phantom cohort, the whole lineage, the scoreboard
	$(BIN)/petar demo $(ARGS)

curate: $(READY) ## COHORT=dir [HOME_DIR=dir] [ARGS='--strict']: everything up to the catalog
	$(BIN)/petar curate $(ARGS)

rerun: $(READY) ## ASSET=lesions [EXAM=id] [SHARD=07] [SET='midline_mm = 5']: one asset again, then the diff
	$(BIN)/petar rerun "$${ASSET:-}" $${EXAM:+--exam "$$EXAM"} $${SHARD:+--shard "$$SHARD"} $${SET:+--set "$$SET"} $(ARGS)

accept: $(READY) ## NAME=2026-01 WHO='Dr A' [NOTE=...]: keeps what is published now under a name, for ever
	$(BIN)/petar accept "$${NAME:-}" --who "$${WHO:-}" --note "$${NOTE:-}" $(ARGS)

ui: $(READY) ## the Dagster UI on 127.0.0.1:3000
	$(BIN)/petar ui --port "$${PORT:-3000}" $(ARGS)

query: $(READY) ## NAME=funnel [VERSION=...]: one of sql/queries as a table (NAME empty: their list)
	@$(BIN)/petar query $${NAME:+"$$NAME"} $${VERSION:+--version "$$VERSION"} $(ARGS)

gallery: $(READY) ## the review pages of what is curated, and the scorecards
	$(BIN)/petar gallery $(ARGS)

train: $(READY) ## COHORT=dir [HOME_DIR=dir]: the six stages of training, then texts and scores
	$(BIN)/petar train $(ARGS)

evaluate: $(READY) ## COHORT=dir [HOME_DIR=dir]: texts of all models, scores, comparisons, robustness, the external set
	$(BIN)/petar evaluate $(ARGS)

ablate: $(READY) ## COHORT=dir [HOME_DIR=dir]: trains the eight rows of the ablation and scores them
	$(BIN)/petar ablate $(ARGS)

study: $(READY) ## COHORT=dir [HOME_DIR=dir]: sheets of the reader study, and ratings read back
	$(BIN)/petar study $(ARGS)

export: $(READY) ## COHORT=dir [HOME_DIR=dir]: the lesions as NIfTI label maps and DICOM SEG, for viewers
	$(BIN)/petar export $(ARGS)

followup: $(READY) ## COHORT=dir [HOME_DIR=dir]: the lesions of each patient's exams linked over time
	$(BIN)/petar followup $(ARGS)

vllm: $(READY) ## a vLLM server in an environment of its own, ready when this returns (CPU: SmolLM2; GPU: the configured models)
	$(BIN)/petar vllm start $(if $(READERS),--readers "$(READERS)") $(ARGS)

vllm-stop: $(READY) ## stops that server
	$(BIN)/petar vllm stop $(ARGS)

# One thread a worker: two workers already use both cores.
test: $(READY) ## all tests but those of the three targets below
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not walk and not pretrained and not slurm and not docs"

test-walk: $(READY) ## a day of a curation in the UI, in a real browser: sensor, a new exam, another threshold, the diff
	$(BIN)/python -m pytest -q -m walk

test-slurm: $(READY) ## a curation by a Slurm of one node that the test starts (Debian: slurm-wlm munge)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m slurm

test-vllm: vllm ## the tests that ask a real vLLM server, and those that load a pretrained language model
	status=0; PETAR_VLLM_URL=http://127.0.0.1:8000 $(BIN)/python -m pytest -q -m "vllm or pretrained" || status=$$?; \
	$(MAKE) --no-print-directory vllm-stop; exit $$status

docs: $(READY) ## the pages of docs/ as a site in build/site, and the commands of the tutorial
	rm -rf build/docs && mkdir -p build && cp -r docs build/docs
	for page in CONTRIBUTING CHANGELOG; do sed 's#](docs/#](#g; s#](CHANGELOG.md)#](changelog.md)#g; s#](CONTRIBUTING.md)#](contributing.md)#g' $$page.md > build/docs/$${page,,}.md; done
	$(BIN)/typer assets/cli.py utils docs --name petar --title Commands --output build/docs/commands.md
	$(BIN)/python -m assets.reference build/docs/assets.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m docs

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

loc: $(READY) ## lines of code without blanks, comments, docstrings, data and tests
	@$(BIN)/python -m benchmarks.loc

bench: $(READY) ## the figures of benchmarks/, as ratios
	for f in $$(ls benchmarks/[a-z]*.py | grep -v screenshots); do echo "== $$f"; $(BIN)/python -m benchmarks.$$(basename $$f .py); done

fuzz: $(READY) ## 10,000 damaged inputs of every kind: each must end as rows or as an error of ours (ARGS='--share 0.1 --seed 1')
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzz $(ARGS)

soak: $(READY) ## KILLS=12 [SEED=1] [KINDS='curation catalog training dagster']: kills at random moments; reruns must end equal
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.kills --kills "$${KILLS:-12}" --seed "$${SEED:-1}" $(foreach kind,$(KINDS),--only "$(kind)")

# Hashes of all files of each release. torch is left out, because its CPU and its CUDA build differ; sympy is what it alone needs.
LOCK = build/lock/bin/uv pip compile pyproject.toml --quiet --system-certs --generate-hashes --no-strip-extras --no-annotate \
  --python-version 3.11 --python-platform linux --overrides <(echo 'torch; python_version < "3"') --custom-compile-command 'make lock'

screenshots: $(READY) ## the pictures of review pages and of a draft report in docs/images, of drawn exams (needs Chromium)
	$(BIN)/python -m benchmarks.screenshots $(ARGS)

lock: ## requirements.lock and requirements-dev.lock from pyproject.toml (ARGS=--upgrade: with the newest versions)
	test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv==0.13.9; }
	$(LOCK) <(echo sympy) --extra postgres --extra s3 --extra proposals --output-file requirements.lock $(ARGS) >/dev/null
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock $(ARGS) \
	  $$(sed -nE 's/^([a-z0-9.-]+)(\[.*\])?==.*/--no-emit-package \1/p' requirements.lock) >/dev/null

# The demo's home is curated from the phantom in it; `manifest/cohort.json` says of every home what it is curated from.
OTHER_COHORTS = find data -mindepth 1 -maxdepth 2 ! -path 'data/phantom*' ! -path 'data/lake*' \( -name exams -o -name 'reports*' \)
clean: ## removes what the demo wrote (never a home or a cohort of yours)
	@if [ ! -e data ]; then echo "clean: no data/ here"; \
	elif [ -d data ] && [ ! -L data ] && [ -z "$$($(OTHER_COHORTS))" ] && \
	  { grep -qs '"folder": "phantom"' data/manifest/cohort.json || [ "$$(ls -A data)" = phantom ]; }; then rm -rf data; \
	else echo "clean: data/ is not the demo's home alone, so it is left alone; remove it yourself if you do not need it" >&2; exit 1; fi
