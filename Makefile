# `make train` and `make test` are all a newcomer needs. Every target sets up .venv when it must.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help: ## Explain every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

# The stamp is newer than pyproject.toml exactly when what it asks for is installed.
.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev --editable .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --group judges
	@touch $@

setup: .venv/ready ## Create .venv with the tested versions of everything

train: .venv/ready ## Train ResNet-20 on the built-in CIFAR-10 sample (minutes on two cores)
	$(BIN)/resnets train sample.resnet20

fmt: .venv/ready ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: .venv/ready ## Format, lint, types and layers, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: .venv/ready ## Run the tests that need no network and no data but ours
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test-real: .venv/ready ## Run the tests on real data: ../shared/data and the npm client
	$(BIN)/python -m pytest -m real

golden-update: .venv/ready ## Rewrite tests/golden after a change that was meant (say it in CHANGELOG)
	$(BIN)/python -m pytest tests/golden --golden-update

paper: .venv/ready ## Write docs/results.md, the paper's numbers beside ours, from results/*.json
	$(BIN)/python scripts/make_results_page.py

bench: .venv/ready ## Time training against the usual loop, in pairs; writes results/bench-*.json
	$(BIN)/python bench/train_cifar.py

bench-evaluate: .venv/ready ## Time evaluating ResNet-50 against torchvision's loop; needs ../shared/data
	$(BIN)/python bench/evaluate_imagenet.py

bench-load: .venv/ready ## Time reading training images against torchvision's way; needs ../shared/data
	$(BIN)/python bench/load_images.py

bench-train-resnet50: .venv/ready ## Time training ResNet-50 against torchvision's model, eager and tuned
	$(BIN)/python bench/train_resnet50.py

bench-train-resnet50-gpu: .venv/ready ## The same on a GPU, with the rates that its memory and arithmetic allow
	$(BIN)/python bench/train_resnet50.py --device cuda

bench-detection: .venv/ready ## Time a detector's operations on one core
	$(BIN)/python bench/detection_ops.py

bench-detector: .venv/ready ## Time training and testing a detector against torchvision's
	$(BIN)/python bench/detector.py

clean: ## Remove .venv and caches; runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup train fmt check test test-real golden-update paper bench bench-evaluate bench-load bench-train-resnet50 \
	bench-train-resnet50-gpu bench-detection bench-detector clean
