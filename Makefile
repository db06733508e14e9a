# Every target makes .venv and installs what is missing first: see scripts/setup.
# `make` alone lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTEST := .venv/bin/pytest -q
PROFILE ?=

.PHONY: help
help: ## list the targets
	@echo "sshwrap: ssh -R that stays up, tells the truth, and says why when it can't"
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1 @\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-14s %s\n", $$1, $$2}'

##### to see it work, and to work on it

.PHONY: demo
demo: ## the whole story on this machine, in under a minute
	@scripts/setup demo
	@.venv/bin/python scripts/demo.py

.PHONY: test
test: .dev lint types ## everything that has to pass: lint, types and every test that is not slow
	@.venv/bin/python scripts/test.py

.PHONY: lint
lint: .dev ## ruff: rules and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.PHONY: types
types: .dev ## mypy, strict
	.venv/bin/mypy

.PHONY: netlab
netlab: .dev ## hosts in network namespaces, NAT and faults (as root, on Linux)
	SSHWRAP_SLOW=1 $(PYTEST) tests/netlab -n 2 --dist worksteal -rs

.PHONY: matrix
matrix: ## doctor against every server: bullseye, bookworm, trixie, dropbear, systemd (as root, on Linux)
	@scripts/setup matrix
	@scripts/systems
	SSHWRAP_SLOW=1 $(PYTEST) tests/netlab -m matrix -n 2 --dist worksteal -rs

.PHONY: bench
bench: ## measure against ssh and autossh, side by side
	@scripts/bench

FAULTS ?= 1000
.PHONY: soak
soak: .dev ## 1000 random faults in a row, two hours (as root, on Linux; FAULTS=50: fewer)
	@scripts/soak --faults $(FAULTS)

.PHONY: docs
docs: .dev ## make anew what documents take from the code
	@for script in scripts/*_docs.py; do .venv/bin/python "$$script" || exit 1; done

.PHONY: clean
clean: ## remove what make has made, .venv too; no profile and no tunnel is touched
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: .dev
.dev:
	@scripts/setup dev

##### for people who keep their tunnels in a repository: make up PROFILE=web

.PHONY: up
up: .run ## bring tunnels up in the background   (PROFILE=web for one)
	@.venv/bin/sshwrap up -d $(PROFILE)

.PHONY: down
down: .run ## take tunnels down                    (PROFILE=web)
	@.venv/bin/sshwrap down $(PROFILE)

.PHONY: status
status: .run ## what runs, and what does not         (PROFILE=web)
	@.venv/bin/sshwrap status $(PROFILE)

.PHONY: doctor
doctor: .run ## why can nobody reach my port         (PROFILE=web)
	@.venv/bin/sshwrap doctor $(PROFILE)

.PHONY: .run
.run:
	@scripts/setup run
