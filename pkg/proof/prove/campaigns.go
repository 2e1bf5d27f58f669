package main

// campaigns returns all campaigns, in the order in which they run.
func campaigns() []campaign {
	return []campaign{
		{name: "simulation", pkg: "./pkg/sim", tests: "^TestSimulate$", weight: 27, parts: 1},
		{name: "planted bugs", pkg: "./pkg/sim", tests: "^TestMutants$", tags: "mutants", weight: 3, parts: 1},
		{name: "model", pkg: "./pkg/lot", tests: "^TestModel$", weight: 14, parts: 3},
		{name: "windows", pkg: "./pkg/engine", tests: "^TestLinearizable$", weight: 3, parts: 1},
		{name: "sigkill", pkg: "./pkg/proof/crash", tests: "^TestSIGKILL$", weight: 12, parts: 1},
		{name: "sigterm", pkg: "./pkg/proof/crash", tests: "^TestSIGTERM$", weight: 5, parts: 1},
		{name: "power", pkg: "./pkg/proof/crash", tests: "^TestPowerCut$|^TestServerPowerCut$", weight: 13, parts: 2},
		{name: "power-steps", pkg: "./pkg/store/sqlite", tests: "^TestPowerCut", weight: 5, parts: 2},
		{name: "nodes", pkg: "./pkg/proof/crash", tests: "^TestNodes$", weight: 12, parts: 1},
		{name: "replies", pkg: "./pkg/proof/crash", tests: "^TestLostReplies$", weight: 8, parts: 1},
		{name: "partitions", pkg: "./pkg/proof/crash", tests: "^TestPartitions$", weight: 8, parts: 1},
		{name: "server", pkg: "./pkg/proof/crash", tests: "^TestServer$", weight: 8, parts: 1},
		{name: "failover", pkg: "./pkg/proof/crash", tests: "^TestFailover$", weight: 8, parts: 1},
		{name: "refusals", pkg: "./pkg/proof/crash", tests: "^TestRefusals$|^TestFullDisk$", weight: 6, parts: 2},
		{name: "leaks", pkg: "./pkg/proof/crash", tests: "^TestLeaks", weight: 4, parts: 2},
		{name: "fuzz", fuzz: true, weight: 10, parts: 1},
	}
}
