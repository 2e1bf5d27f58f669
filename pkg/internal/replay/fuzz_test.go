package replay_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// naive is a pool that recounts everything from its tasks each time. The replay is compared with it.
type naive struct {
	log   log
	cap   int64
	tasks []naiveTask
}

type naiveTask struct {
	units   int64
	attempt int
	status  park.Status
}

func (n *naive) totals() (used int64, queued, running int) {
	for _, t := range n.tasks {
		switch t.status {
		case park.Queued:
			queued++
		case park.Running:
			used += t.units
			running++
		default:
		}
	}
	return used, queued, running
}

// move makes one legal change that the two bytes choose, if there is one.
func (n *naive) move(what, which byte) {
	used, _, _ := n.totals()
	if what%8 < 2 || len(n.tasks) == 0 {
		id, units := fmt.Sprint("t", len(n.tasks)), int64(which%5)+1
		t := naiveTask{units: units, status: park.Queued}
		second := enqueue(id, units)
		if units > n.cap {
			return
		}
		if used+units <= n.cap {
			t.status, t.attempt = park.Running, 1
			second = start(id, units, 1)
		}
		n.tasks = append(n.tasks, t)
		n.log.step(submit(id, units), second)
		return
	}
	i := int(which) % len(n.tasks)
	t, id := &n.tasks[i], fmt.Sprint("t", i)
	switch {
	case what%8 == 2:
		to := int64(which % 12)
		n.log.step(update(fmt.Sprintf(`{"maxUnits":{"from":%d,"to":%d}}`, n.cap, to)))
		n.cap = to
	case t.status == park.Running && what%8 == 3:
		t.status = park.Queued
		n.log.step(ev(park.ActRequeue, id, t.units, t.attempt))
	case t.status == park.Running:
		t.status = park.Completed
		action := []park.Action{park.ActComplete, park.ActFail, park.ActCancel}[what%3]
		if action == park.ActCancel {
			n.log.step(update(fmt.Sprintf(`{"cancel":%q}`, id)))
		}
		n.log.step(ev(action, id, t.units, t.attempt))
	case t.status == park.Queued && what%8 == 4:
		t.status = park.Expired
		n.log.step(ev([]park.Action{park.ActExpire, park.ActCancel}[which%2], id, t.units, t.attempt))
	case t.status == park.Queued && used+t.units <= n.cap:
		t.status = park.Running
		t.attempt++
		n.log.step(start(id, t.units, t.attempt))
	}
}

// FuzzReplay replays a legal log, which must be without offence and have the right totals at every rev. Then it replays
// the log with one event removed, doubled or changed: the replay must not panic, and its totals must not be negative.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{0, 4, 0, 4, 0, 4, 5, 0, 5, 1, 4, 2}, uint16(3), byte(1))
	f.Add([]byte{0, 4, 3, 0, 5, 0, 2, 3, 6, 0}, uint16(1), byte(2))
	f.Add([]byte{0, 4, 1, 4, 1, 4, 1, 4, 7, 0, 7, 1}, uint16(9), byte(7))
	f.Fuzz(func(t *testing.T, moves []byte, where uint16, how byte) {
		n := &naive{cap: 10}
		p := replay.New(replay.Limits{MaxUnits: 10, MaxQueueDepth: 1 << 20})
		for i, seen := 0, 0; i+1 < len(moves) && i < 4000; i += 2 {
			n.move(moves[i], moves[i+1])
			for ; seen < len(n.log.events); seen++ {
				if err := p.Apply(n.log.events[seen]); err != nil {
					t.Fatal(err)
				}
			}
			s := p.State()
			if used, queued, running := n.totals(); s.Used != used || s.Queued != queued || s.Running != running {
				t.Fatalf("rev %d: %+v, want used %d, queued %d, running %d", s.Rev, s, used, queued, running)
			}
		}
		if err := p.Finish(); err != nil {
			t.Fatal(err)
		}
		spoil(t, n.log.events, int(where), how)
	})
}

func spoil(t *testing.T, events []park.Event, where int, how byte) {
	if len(events) == 0 {
		return
	}
	i := where % len(events)
	spoiled := append([]park.Event{}, events[:i]...)
	e := events[i]
	switch how % 4 {
	case 0: // removed
	case 1:
		spoiled = append(spoiled, e, e)
	case 2:
		e.Action = park.Actions()[int(how)%len(park.Actions())]
		spoiled = append(spoiled, e)
	case 3:
		e.Units, e.Attempt, e.Detail = int64(how), int(how)-5, json.RawMessage(`{"maxUnits":{"from":1}}`)
		spoiled = append(spoiled, e)
	}
	spoiled = append(spoiled, events[i+1:]...)
	p := replay.New(replay.Limits{MaxUnits: 10, MaxQueueDepth: 1 << 20})
	for _, e := range spoiled {
		_ = p.Apply(e)
		if s := p.State(); s.Used < 0 || s.Queued < 0 || s.Running < 0 {
			t.Fatalf("after %+v: %+v", e, s)
		}
	}
	if clean := p.Finish() == nil && p.Summary().Offences == 0; clean && how%4 == 1 {
		t.Fatalf("event %d came twice and nobody minded", i)
	}
}

func BenchmarkApply(b *testing.B) {
	l := &log{}
	for i := range 100_000 {
		id := fmt.Sprint("t", i)
		l.step(submit(id, 1), enqueue(id, 1)).step(start(id, 1, 1)).step(complete(id, 1, 1))
	}
	b.ResetTimer()
	for b.Loop() {
		p := replay.New(replay.Limits{MaxUnits: 10, MaxQueueDepth: 10})
		for _, e := range l.events {
			_ = p.Apply(e)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(l.events)), "ns/event")
}

// FuzzAnyLog replays any input that has the form of a log, and checks it as the callers do. Nothing may panic.
func FuzzAnyLog(f *testing.F) {
	f.Add([]byte(`[{"eventId":"gpu:1:0","rev":1,"action":"submit","taskId":"a","poolId":"gpu","units":1},
		{"eventId":"gpu:1:1","rev":1,"action":"start","taskId":"a","poolId":"gpu","units":1,"attempt":1}]`))
	f.Add([]byte(`[{"rev":-1,"action":"update","detail":{"maxUnits":{"from":1,"to":-5},"state":{"to":"asleep"},"cancel":"a"}}]`))
	f.Add([]byte(`[{"rev":9223372036854775807,"action":"start","taskId":"a","units":9223372036854775807,"attempt":-2147483648}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var events []park.Event
		if json.Unmarshal(b, &events) != nil {
			return
		}
		limits := replay.Initial(replay.Limits{MaxUnits: 10, MaxQueueDepth: 3}, events)
		p := replay.New(limits)
		p.KeepEnds()
		p.KeepTimeline(16)
		for _, e := range events {
			_ = p.Apply(e)
		}
		_ = p.Finish()
		_ = p.EndsAt(park.Pool{})
		if s := p.Summary(); s.Events != len(events) || len(p.Timeline()) > 16 {
			t.Errorf("%d events, %d samples of %d", s.Events, len(p.Timeline()), len(events))
		}
	})
}
