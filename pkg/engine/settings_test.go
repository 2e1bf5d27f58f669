package engine_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// logText is a log that several goroutines may write and read.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestNodesDifferInAPool: the limits of the node that starts last count, and both nodes say that they differ.
func TestNodesDifferInAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs [2]logText
		shared := memory.New()
		node := func(i int, units int64) *bench {
			return open(t, engine.Config{
				Node: fmt.Sprintf("node-%d", i), Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: shared},
				Pools:  []engine.Pool{pool("cpu", units, simulated())}, Log: slog.New(slog.NewTextHandler(&logs[i], nil)),
			})
		}
		first := node(0, 8)
		defer first.stop()
		first.submit("cpu", named("a", sim(10)))
		second := node(1, 4)
		defer second.stop()
		time.Sleep(5 * time.Second)
		if p, err := first.Pool(t.Context(), "cpu"); err != nil || p.MaxUnits != 4 {
			t.Fatalf("%+v %v", p, err)
		}
		if n := logs[0].count("level=WARN msg=\"another node has another configuration of a pool"); n != 1 || logs[0].count("theirs_max_units=4") != 1 {
			t.Errorf("the first node says it %d times: %s", n, logs[0].text.String())
		}
		if n := logs[1].count("the configuration says something new of a pool"); n != 1 || logs[1].count("before_max_units=8") != 1 {
			t.Errorf("the second node says it %d times: %s", n, logs[1].text.String())
		}
	})
}
