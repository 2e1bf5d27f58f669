package main

// engine is the lot and the engine, with the packages on which the engine is built.
const engine = "./pkg/internal/lot,./pkg/engine,./pkg/internal/cluster,./pkg/internal/env,./pkg/internal/health,./pkg/internal/portion," +
	"./pkg/internal/relay,./pkg/internal/retention,./pkg/internal/topic"

// campaigns returns all campaigns, in the order in which they run: first those that need the whole machine, then long
// ones.
func campaigns() []campaign {
	const crash = "./pkg/internal/proof/crash"
	return []campaign{
		{name: "simulation", pkg: "./pkg/internal/sim", tests: "^TestSimulate$", lines: []string{"simulation"}, weight: 27, room: whole, cover: engine},
		{name: "planted bugs", pkg: "./pkg/internal/sim/planted", tests: "^TestPlanted$", lines: []string{"planted bugs"}, weight: 3, room: whole},
		{name: "bad daemons", pkg: "./pkg/internal/proof/judges", tests: "^TestBadDaemons$", lines: []string{"bad daemons"}, weight: 3, room: half},
		{name: "model", pkg: "./pkg/internal/lot", tests: "^TestModel$", lines: []string{"model-memory", "model-sqlite", "model-postgres"}, weight: 14, room: half},
		{name: "failover", pkg: crash, tests: "^TestFailover$", lines: []string{"synchronous-failover"}, weight: 8},
		{name: "power", pkg: crash, tests: "^TestPowerCut$|^TestServerPowerCut$", lines: []string{"power-cut", "server-power-cut"}, weight: 13},
		{name: "nodes", pkg: crash, tests: "^TestNodes$", lines: []string{"nodes"}, weight: 12},
		{name: "sigkill", pkg: crash, tests: "^TestSIGKILL$", lines: []string{"sigkill-file"}, weight: 12},
		{name: "leaks", pkg: crash, tests: "^TestLeaks$", lines: []string{"leaks"}, weight: 4},
		{name: "descriptors", pkg: crash, tests: "^TestDescriptors$", lines: []string{"descriptors"}, weight: 4},
		{name: "migrate", pkg: crash, tests: "^TestMigrate$", lines: []string{"migrate"}, weight: 4},
		{name: "server", pkg: crash, tests: "^TestServer$", lines: []string{"server"}, weight: 8},
		{name: "partitions", pkg: crash, tests: "^TestPartitions$", lines: []string{"partitions"}, weight: 8},
		{name: "replies", pkg: crash, tests: "^TestLostReplies$", lines: []string{"lost-commit-replies"}, weight: 8},
		{name: "refusals", pkg: crash, tests: "^TestRefusals$|^TestFullDisk$", lines: []string{"database-refusals", "database-disk-full"}, weight: 6},
		{name: "sigterm", pkg: crash, tests: "^TestSIGTERM$", lines: []string{"sigterm-file"}, weight: 5},
		{name: "power-steps", pkg: "./pkg/store/sqlite", tests: "^TestPowerCut", lines: []string{"power-cut-steps", "power-cut-canary"}, weight: 5},
		{name: "stores", pkg: "./pkg/store/sqlite", tests: "^TestDifferential$", lines: []string{"stores-sqlite"}, weight: 4, room: half},
		{name: "databases", pkg: "./pkg/store/postgres", tests: "^TestDifferential$", lines: []string{"stores-postgres"}, weight: 4},
		{name: "windows", pkg: "./pkg/engine", tests: "^TestLinearizable$", lines: []string{"porcupine"}, weight: 3, room: half},
		{name: "grace", pkg: crash, tests: "^TestGrace$", lines: []string{"grace"}, weight: 4},
		{name: "fuzz", fuzz: true, lines: []string{fuzzing}, weight: 10},
	}
}
