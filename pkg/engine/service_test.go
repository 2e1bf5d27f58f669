package engine_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/parktest"
	"github.com/parkd-dev/parkd/pkg/park"
)

func TestService(t *testing.T) {
	parktest.Run(t, func(t *testing.T) park.Service {
		var c engine.Config
		for _, spec := range parktest.Pools() {
			p := engine.Pool{PoolSpec: spec}
			if !spec.Runtime.Leased() {
				p.Executor = parktest.Executor()
			}
			c.Pools = append(c.Pools, p)
		}
		b := openEngine(t, c)
		t.Cleanup(b.closeNow)
		return b.Engine
	})
}
