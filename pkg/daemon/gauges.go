package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parkd-dev/parkd/pkg/park"
)

// gauges are the pools as they stand, read when they are asked for.
type gauges struct{ pools park.PoolService }

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"pool"}, nil)
}

// Describe implements [prometheus.Collector].
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, read := range gaugesOf(park.Pool{}) {
		to <- read.desc
	}
}

// Collect implements [prometheus.Collector].
func (g gauges) Collect(to chan<- prometheus.Metric) {
	pools, err := g.pools.Pools(context.Background())
	if err != nil {
		return
	}
	for _, p := range pools {
		for _, read := range gaugesOf(p) {
			to <- prometheus.MustNewConstMetric(read.desc, prometheus.GaugeValue, read.value, p.PoolID)
		}
	}
}

type reading struct {
	desc  *prometheus.Desc
	value float64
}

func gaugesOf(p park.Pool) []reading {
	halted := 0.0
	if p.Halted != "" {
		halted = 1
	}
	return []reading{
		{gauge("parkd_pool_max_units", "Capacity in units."), float64(p.MaxUnits)},
		{gauge("parkd_pool_used_units", "Units of the running tasks."), float64(p.UsedUnits)},
		{gauge("parkd_pool_running_tasks", "Running tasks."), float64(p.Running)},
		{gauge("parkd_pool_parked_tasks", "Parked tasks."), float64(p.QueueDepth)},
		{gauge("parkd_pool_max_queue_depth", "How many tasks may be parked."), float64(p.MaxQueueDepth)},
		{gauge("parkd_pool_halted", "1 where the pool has halted because its invariants were broken."), halted},
	}
}
