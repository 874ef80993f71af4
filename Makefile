export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
# The line above: after `npm ci` each recipe runs the Node 24 that package.json brings, and npm under it.
# A shell other than the default makes `make` search that PATH for every command.
SHELL := /bin/bash
# Node keeps what it compiled, so that the many processes of demo and tests start in half the time.
export NODE_COMPILE_CACHE ?= $(CURDIR)/node_modules/.cache/node
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-security test-system sim chaos bench bench-fleet nats dev clean lockcheck add audit sbom

ONCE ?=
INSTANCES ?= 1
SERVICE ?= mail
# CLUSTER=3 runs the long tests on a cluster of three, one of which is killed every ten seconds.
CLUSTER ?=
export CLUSTER
# NATS=2.10 runs the tests on the newest server of that release in place of the newest of all.
NATS ?=
export NATS_SERVER_RELEASE ?= $(NATS)
NODE_TEST := node --test --test-concurrency=3 --test-timeout=240000

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: node_modules/.stamp ## Install what the project needs into this directory: packages, Node 24, nats-server
	@scripts/nats-server.sh path >/dev/null

# npm's own record of what is installed is newer than the lock file after any npm command: then there is nothing to do.
node_modules/.stamp: package-lock.json
	@[ node_modules/.package-lock.json -nt package-lock.json ] || { echo 'npm ci'; npm ci --loglevel=error; }
	@touch $@

demo: setup ## Run the whole system against a simulated Gmail and Outlook (ONCE=1: no terminal; INSTANCES=3: a disk is lost)
	@ONCE='$(ONCE)' INSTANCES='$(INSTANCES)' node test/demo/main.ts

check: setup ## Types, lint and format, dead code, shell syntax
	tsc -p .
	biome ci --error-on-warnings --config-path=.biome.json $(if $(MAKE_TERMOUT),,--colors=off) .
	knip
	@for script in scripts/*.sh .ci/run; do bash -n $$script || exit 1; done

test: setup check ## Every check, then unit, contract and integration tests (five to fifteen minutes on two cores)
	$(NODE_TEST) 'test/*.test.ts' 'test/!(system)/**/*.test.ts'

test-system: setup ## The long tests: many processes, killed, paused, cut off
	$(NODE_TEST) $(if $(CLUSTER),--test-concurrency=1) --test-timeout=1200000 'test/system/**/*.test.ts'

test-security: setup ## Tokens, NATS permissions, user ids and tenants under attack, longer than in make test (FULL=1: a million requests each)
	@AMOUNT='$(or $(FULL),asked)' $(NODE_TEST) --test-timeout=$(if $(FULL),14400000,1800000) 'test/security/**/*.test.ts'

sim: setup ## The service's own code in virtual time under seeded faults: 1,000 seeds (SEEDS, FROM, SEED, MUTANT)
	@SEEDS='$(SEEDS)' FROM='$(FROM)' SEED='$(SEED)' MUTANT='$(MUTANT)' node test/sim/main.ts

chaos: setup ## Machines, disks, links and NATS are struck while mail arrives; then the books are read (SEED; FULL=1: 1,000 kills)
	@SEED='$(SEED)' FULL='$(FULL)' node test/chaos/main.ts

bench: setup ## Throughput, CPU and latency with their targets (QUICK=1: three minutes; ONLY=one part; PROFILE=1: where its time goes; WRITE=1: into docs/)
	@QUICK='$(QUICK)' ONLY='$(ONLY)' PROFILE='$(PROFILE)' WRITE='$(WRITE)' node test/bench/main.ts

bench-fleet: setup ## Instances killed, stopped and added under 3,000 users; exit 1 when a figure misses its target (USERS, INSTANCES, INTERVAL)
	@INSTANCES='$(if $(filter file,$(origin INSTANCES)),,$(INSTANCES))' node test/bench/fleet/main.ts

nats: setup ## Start nats-server on 4222 (monitoring 8222) with nats.conf; data and passwords in data/nats
	@scripts/nats-server.sh run data/nats --port 4222 --http 8222

dev: setup ## Run one service from source, restarted at each change (SERVICE=mail or http), with data/nats/nats.env
	@if [ -z "$$NATS_USER" ] && [ -r data/nats/nats.env ]; then \
	  . data/nats/nats.env; export NATS_USER NATS_PASSWORD; \
	  case '$(SERVICE)' in \
	    http) NATS_USER=bridge NATS_PASSWORD=$$NATS_BRIDGE_PASSWORD ;; \
	    *) NATS_USER=mailsync NATS_PASSWORD=$$NATS_MAILSYNC_PASSWORD ;; \
	  esac; \
	fi; \
	exec node --watch --env-file-if-exists=.env services/$(SERVICE)/main.ts

clean: ## Remove what setup installed; your data in data/ stays
	rm -rf node_modules .tools coverage

lockcheck: ## Prove that the lock file installs from nothing; run it after every change of a dependency
	rm -rf node_modules
	@$(MAKE) --no-print-directory node_modules/.stamp

audit: setup ## Versions, hashes, install scripts and licences of all packages; then what the registry knows of weaknesses, if it does
	@node scripts/audit.ts

sbom: ## Write sbom.json: every package of the lock file, with hash and licence, as CycloneDX
	@npm sbom --package-lock-only --sbom-format=cyclonedx --sbom-type=application >sbom.json || { rm -f sbom.json; exit 1; }

add: setup ## Add a package at its exact version, by npm under Node 24: make add P=name
	@test -n '$(P)' || { echo 'usage: make add P=name' >&2; exit 64; }
	npm install --save-exact '$(P)'
	@touch node_modules/.stamp
