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

// logBuffer is a log that several goroutines may write and read.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestNodesDifferInAPool: the limits of the node that starts last count, and both nodes say that they differ.
func TestNodesDifferInAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs [2]logBuffer
		shared := memory.New()
		node := func(i int, units int64) *harness {
			return openEngine(t, engine.Config{
				Node: fmt.Sprintf("node-%d", i), Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: shared},
				Pools:  []engine.Pool{poolConfig("cpu", units, sleepExecutor())}, Log: slog.New(slog.NewTextHandler(&logs[i], nil)),
			})
		}
		first := node(0, 8)
		defer first.closeNow()
		first.submit("cpu", withID("a", sleepFor(10)))
		second := node(1, 4)
		defer second.closeNow()
		time.Sleep(5 * time.Second)
		if p, err := first.Pool(t.Context(), "cpu"); err != nil || p.MaxUnits != 4 {
			t.Fatalf("%+v %v", p, err)
		}
		if n := logs[0].count("level=WARN msg=\"another node has other limits for the pool"); n != 1 || logs[0].count("theirs_max_units=4") != 1 {
			t.Errorf("the first node says it %d times: %s", n, logs[0].text.String())
		}
		if n := logs[1].count("the configuration of a pool has changed"); n != 1 || logs[1].count("before_max_units=8") != 1 {
			t.Errorf("the second node says it %d times: %s", n, logs[1].text.String())
		}
	})
}

// TestNodesDifferInSettings: nodes say which others have other settings of a pool, once for as long as these are the same.
func TestNodesDifferInSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs [4]logBuffer
		shared := memory.New()
		node := func(i int, change func(*engine.Pool)) *harness {
			p := poolConfig("cpu", 8, sleepExecutor())
			p.Settings = map[string]any{"command": []string{"true"}}
			change(&p)
			return openEngine(t, engine.Config{
				Node: fmt.Sprintf("node-%d", i), Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: shared},
				Pools:  []engine.Pool{p, poolConfig("io", 8, sleepExecutor())}, Log: slog.New(slog.NewTextHandler(&logs[i], nil)),
			})
		}
		said := func(i int, what string, times int) {
			t.Helper()
			time.Sleep(30 * time.Second)
			if n := logs[i].count(what); n != times {
				t.Errorf("node %d says %q %d times: %s", i, what, n, logs[i].text.String())
			}
		}
		first := node(0, func(*engine.Pool) {})
		defer first.closeNow()
		// One of a version that does not tell its settings, and one with the same but for what is each node's own affair.
		if _, err := shared.Heartbeat(t.Context(), "old", store.NodeConfig{}); err != nil {
			t.Fatal(err)
		}
		same := node(1, func(p *engine.Pool) { p.Idle = true })
		defer same.closeNow()
		said(0, "level=WARN msg=\"nodes differ in their settings", 0)
		said(1, "level=WARN msg=\"nodes differ in their settings", 0)
		for i, change := range []func(*engine.Pool){
			func(p *engine.Pool) { p.DefaultTimeout = 77 * time.Second },
			func(p *engine.Pool) { p.Settings = map[string]any{"command": []string{"false"}} },
		} {
			other := node(2+i, change)
			said(0, fmt.Sprintf("level=WARN msg=\"nodes differ in their settings of a pool, and tasks run by those of the node that starts them: give all nodes the same\""+
				" pool=cpu node=node-0 unlike_nodes=node-%d", 2+i), 1)
			said(2+i, fmt.Sprintf("pool=cpu node=node-%d unlike_nodes=\"node-0 node-1\"", 2+i), 1)
			said(0, "pool=io", 0)
			other.closeNow()
			said(0, "nodes have the same settings of a pool again\" pool=cpu", 1+i)
		}
	})
}
