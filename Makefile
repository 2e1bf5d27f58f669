# Everything here is a short name for a command that works without make.

GOLANGCI := go tool -modfile=.ci/tools/go.mod golangci-lint
BIN      := parkd

.PHONY: build test check lint generate man bench bench-large startup microbench proof kill-test simulate mutation loadtest fuzz clean

build: ## the binary, here
	CGO_ENABLED=0 go build -trimpath -o $(BIN) .

test: ## the tests alone, with the race detector
	go test -race -gcflags=modernc.org/sqlite/lib=-race=false ./...

check: ## all that a change must pass
	sh .ci/run

lint:
	$(GOLANGCI) run ./...

generate: ## completions and the schema of the configuration
	sh .ci/generate

man: ## the manual pages, in man/
	go run ./docs/man man

BENCH ?=
bench: ## parkd beside bare HTTP, raw inserts and peers: writes docs/performance.md. BENCH='-rounds 3 -only memory,file' for less
	cd docs/bench && go run . $(BENCH)

bench-large: ## the same, and a million parked tasks, ten million events, a million rows to forget: an hour
	cd docs/bench && go run . -large $(BENCH)

startup: ## processor time of `parkd version`, `parkd status` and the shim, beside a Go program that prints a line and task-spooler
	cd docs/bench && go run . -only start $(BENCH)

microbench: ## cost of a task, a step, a commit; with 1,000 to 1,000,000 parked
	go test -run '^$$' -bench . -benchmem ./pkg/internal/lot ./pkg/engine ./pkg/store/... ./pkg/verify

PROOF_MINUTES ?= 480
proof: ## all campaigns in their long form, within PROOF_MINUTES, and docs/reliability.md of what they did; fails where that is less than was asked
	go run ./pkg/internal/proof/prove -form long -minutes $(PROOF_MINUTES) -o docs/reliability.md

kill-test: ## kill -9 in the middle of submissions, 2,000 times
	go run ./pkg/internal/proof/prove -form long -only '^sigkill$$'

SEEDS ?= 10000
simulate: ## SEEDS simulated histories, and every planted bug
	PARKD_SIM_SEEDS=$(SEEDS) go test -count=1 -timeout 12h -run TestSimulate -v ./pkg/internal/sim
	go run ./pkg/internal/proof/prove -form long -only '^planted bugs$$'

MUTATE ?= ./pkg/internal/lot ./pkg/engine $(addprefix ./pkg/internal/,cluster env health portion relay retention topic)
mutation: ## changes to MUTATE by machine that no test notices: hours. MUTATE=./pkg/internal/lot for one package
	for p in $(MUTATE); do go run ./pkg/internal/proof/mutate -pkg $$p || failed=1; done; exit $${failed:-0}

loadtest: build ## the promises, on memory and on file
	./$(BIN) loadtest -n 10000 --backend memory
	./$(BIN) loadtest -n 10000 --backend file
	./$(BIN) loadtest -n 10000 --backend file --restart

FUZZTIME ?= 2m
fuzz: ## each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' 'func Fuzz' cmd pkg | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' "$$f"); do \
			go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$f")" || exit 1; \
		done; \
	done

clean:
	rm -rf $(BIN) man dist
