package sim

// Statistics of histories. A kind that hardly ever occurs tests nothing, so all are counted.

// operations are what clients, workers and operators do, and its effects.
func operations() []string {
	return []string{
		"submit", "cancel", "task", "list", "mailbox", "trim", "audit", "set", "lease", "keep", "end", "release", "batch",
		"submission without an id", "resend with the id of the answer", "impossible submission", "id of another tenant's", "id used again",
		"cancel with its submission", "cancel in the step of the start", "cancel of the next", "sweep", "pause", "drain", "resume", "resize",
		"resize of the queue", "outcome unknown", "pruned task", "panic outcome", "no JSON outcome", "no status outcome", "large outcome",
		"huge outcome", "poison outcome", "rest outcome",
	}
}

// faultCounts are the names under which faults are counted; some kinds of [Kinds] have several.
func faultCounts() []string {
	return []string{
		"crash", "stop", "freeze", "long freeze", "suspend", "partition", "lost request", "lost reply", "repeated request",
		"repeated reply", "late message", "late burial", "late result", "slow read", "lost hint", "clock step", "clock rate", "outage",
		"disk full", "power cut", "worker crash", "restore", "shortage", "lost replies", "terms", "files", "unreadable",
	}
}

// settings are the settings of deployments.
func settings() []string {
	return []string{
		"one node on a file", "one node of many", "several nodes", "workers", "quiet", "work without shims", "large units", "retention", "huge results",
		"time limit of a pool", "retries of a pool", "operators", "ample patience",
	}
}

// countSettings counts the settings of a history.
func (h *history) countSettings() map[string]int {
	p := &h.plan
	all := map[string]bool{
		"one node on a file": h.singleNode, "one node of many": !h.singleNode && p.nodes == 1, "several nodes": p.nodes > 1, "workers": p.workers > 0,
		"quiet": p.quiet, "work without shims": p.inProcess, "large units": p.unit > 1, "retention": p.retention > 0, "huge results": p.huge,
		"operators": p.operators > 0, "ample patience": p.patience > nodeTTL,
	}
	for _, s := range p.pools {
		all["time limit of a pool"] = all["time limit of a pool"] || s.DefaultTimeout > 0
		all["retries of a pool"] = all["retries of a pool"] || s.Retry.MaxAttempts > 0
	}
	counts := make(map[string]int)
	for name, so := range all {
		if so {
			counts[name]++
		}
	}
	return counts
}
