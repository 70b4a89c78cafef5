# beowulf: two commands are all a newcomer types: `make demo` and `make test`.
#
# Everything is installed into .venv beside this file, from constraints.txt.
# PYTHON=python3.12 chooses another interpreter, TORCH=no leaves PyTorch out, LAB=no the
# lab of virtual machines. Only `lab`, `test` and `test-libvirt` install packages of the
# system, where they are root and on Debian, and only those that are missing.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= yes
LAB ?= yes
INPUTS := pyproject.toml constraints.txt

# The first Python that is new enough and can make virtual environments.
FIND_PYTHON = for name in python3 python3.13 python3.12 python3.11; do \
	if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null; then echo "$$name"; break; fi; done
PYTHON ?= $(shell $(FIND_PYTHON))

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt

# Debian's own squid would listen on all interfaces; ours is started by the lab itself.
APT_INSTALL = if [ -d /run/systemd/system ] && ! command -v squid >/dev/null; then \
	systemctl mask --quiet squid.service; fi; \
	{ apt-get update -qq || true; }; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	--no-install-recommends -o Dpkg::Use-Pty=0

.DEFAULT_GOAL := help
.PHONY: help demo lab ansible test test-libvirt check bench docs install clean lab-setup

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/demo-ready ## Set everything up and train the digits here, on 2 ranks
	@$(BIN)/beowulf submit jobs/digits/job.toml

lab: $(VENV)/lab-ready ## Set everything up and start a lab: a head and three nodes (as root)
	@$(MAKE) --no-print-directory lab-setup
	@$(BIN)/beowulf lab up --image prepared

ansible: $(VENV)/lab-ready ## Set up Ansible, for the playbooks that make a cluster

# The lab's unit tests beside the checks, since they share names on this computer; then the quick
# ones, on all cores; then a kernel for the lab is compiled, which saves more time than it takes.
# Then, side by side, what is tried on one cluster and all the rest, since a cluster often waits:
# each with one worker, which says a line per test, in a directory whose name is as short as can be,
# since a lab's sockets need shorter paths than tests get. A second cluster would make it longer:
# ranks that wait for others keep all cores busy. Those that mostly wait come first, while the rest
# has something to do meanwhile, and those that measure last. What tests run knows nothing of this
# make.
LAB_UNITS := tests/unit/lab tests/unit/cli/test_lab.py
QUICK_TESTS := tests/unit tests/playbooks $(LAB_UNITS:%=--ignore=%)
CLUSTER_TESTS := $(patsubst %,tests/lab/test_%.py,faults submit documentation nodes security site \
	balance bench drill recovery cable)
OTHER_TESTS := tests/docs tests/mpi tests/failure \
	$(filter-out $(CLUSTER_TESTS),$(wildcard tests/lab/test_*.py))
PYTEST := $(BIN)/python -m pytest --instafail --durations=15 $(if $(filter no,$(LAB)),-m 'not lab')

test: install $(if $(filter no,$(LAB)),,test-packages) ## Set everything up and run every test this machine can run
	@$(MAKE) --no-print-directory -j2 check test-lab-units
	@$(PYTEST) -n auto --dist worksteal $(QUICK_TESTS)
	@$(if $(filter no,$(LAB)),,$(MAKE) --no-print-directory test-kernel)
	@$(MAKE) --no-print-directory -j2 $(if $(filter no,$(LAB)),,test-cluster) test-others

SIDE = @place=$$(mktemp -d /tmp/bw-XXXX) && trap 'rm -rf "$$place"' EXIT && \
	env -u MAKEFLAGS $(PYTEST) -n 1 -v --basetemp="$$place/t"

.PHONY: test-lab-units test-cluster test-others
test-lab-units:
	@env -u MAKEFLAGS $(PYTEST) $(LAB_UNITS)

test-cluster:
	$(SIDE) $(CLUSTER_TESTS)

test-others:
	$(SIDE) $(OTHER_TESTS)

# What the proof of libvirt takes besides what a lab needs.
LIBVIRT_PACKAGES := vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients \
	qemu-system-x86 qemu-utils dnsmasq-base iptables grub-pc-bin grub-common

test-libvirt: install lab-setup ## Prove Vagrant's libvirt provider by emulation (as root; a quarter of an hour)
	@$(APT_INSTALL) $(LIBVIRT_PACKAGES) >/dev/null
	@$(BIN)/python -m pytest -x tests/libvirt/test_libvirt.py

lab-setup: $(VENV)/lab-ready ## Install what a lab needs, and start none (as root)
	@missing="$$($(BIN)/python -m beowulf.lab.host)"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing what a lab needs: $$missing"; $(APT_INSTALL) $$missing >/dev/null; fi

.PHONY: test-packages test-kernel
test-packages: lab-setup
	@if ! command -v vagrant >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing vagrant"; $(APT_INSTALL) vagrant >/dev/null; fi

# Without it the tests take longer, and find the same.
test-kernel: test-packages
	@if [ "$$(id -u)" = 0 ]; then \
		missing="$$($(BIN)/python -m beowulf.lab.image.compile)"; \
		if [ -n "$$missing" ] && command -v apt-get >/dev/null; then \
			echo "installing what compiling a kernel takes: $$missing"; \
			$(APT_INSTALL) $$missing >/dev/null; fi; \
		$(BIN)/beowulf lab kernel || echo "the lab's nodes have Debian's kernel, and are slower"; fi

check: install ## Check style, types, the playbooks and the generated documentation
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python docs/generate_cli.py --check
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q

bench: install ## Measure what docs/benchmarks.md shows
	@$(BIN)/python -m bench

docs: install ## Write the generated documentation again
	@$(BIN)/python docs/generate_cli.py

install: $(VENV)/test-ready $(if $(filter no,$(TORCH)),,$(VENV)/torch-ready) ## Install what the tests need

clean: ## Remove what was installed here; jobs and their files stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "beowulf needs Python 3.11 or newer with venv; on Debian: apt install python3-venv" >&2; \
		exit 2; fi
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo-ready: $(INPUTS) | $(BIN)/python
	@echo "installing beowulf and what its example jobs need (a minute or two, once)"
	@$(INSTALL) --editable '.[local,jobs]'
	@touch $@

$(VENV)/lab-ready: $(INPUTS) | $(BIN)/python
	@echo "installing beowulf and Ansible"
	@$(INSTALL) --editable '.[local,ansible]'
	@touch $@

$(VENV)/test-ready: $(VENV)/demo-ready
	@echo "installing what the tests need"
	@$(INSTALL) --editable '.[local,jobs,ansible,dev]'
	@touch $@

$(VENV)/torch-ready: $(VENV)/test-ready
	@echo "installing PyTorch (some hundred MB; TORCH=no leaves it out)"
	@$(INSTALL) --editable '.[local,jobs,ansible,dev,torch]'
	@touch $@
