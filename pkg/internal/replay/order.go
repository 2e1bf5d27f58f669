package replay

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// parkedOrder holds the parked tasks whose order is known from the log: by class, and within a class by arrival. A task whose
// run was lost goes first in its class, one whose run failed last. During its backoff a task may be overtaken; the log does
// not tell when the backoff ends, so it may be overtaken afterwards too. A task that costs more than the pool has may be
// overtaken.
type parkedOrder struct {
	classes      [park.Critical - park.Low + 1]class
	deadline     deadlines
	lastOrder    int64 // the last place given behind all others, and before them
	firstOrder   int64
	parkingCount int64
}

// class holds the parked tasks of one priority in two lists by their order: those that cost no more than the pool has, and
// the others.
type class struct{ fitting, large list }

type list struct{ first, last *task }

// turn is a task's place among the parked ones.
type turn struct {
	prev, next *task
	list       *list
	order      int64
	parkingNo  int64 // counts how often any task was parked
	due        int   // its place in the heap of deadlines, from 1
}

func (t *parkedOrder) class(p park.Priority) *class { return &t.classes[p-park.Low] }

// isPlaced reports whether the place of a task is known.
func isPlaced(t *task) bool { return t.Told && t.Priority >= park.Low && t.Priority <= park.Critical }

// join parks a task: first or last in its class. During its backoff it is in no list.
func (t *parkedOrder) join(k *task, first bool, most int64) {
	t.parkingCount++
	k.parkingNo = t.parkingCount
	if first {
		t.firstOrder--
		k.order = t.firstOrder
	} else {
		t.lastOrder++
		k.order = t.lastOrder
	}
	if !isPlaced(k) {
		return
	}
	if k.Deadline != 0 && k.Attempt == 0 {
		heap.Push(&t.deadline, k)
	}
	if k.hasBackoff {
		return
	}
	c := t.class(k.Priority)
	in := &c.fitting
	if k.Units > most {
		in = &c.large
	}
	in.insert(k, first)
}

func (t *parkedOrder) leave(k *task) {
	if k.list != nil {
		k.list.remove(k)
	}
	if k.due > 0 {
		heap.Remove(&t.deadline, k.due-1)
	}
}

// before returns a parked task that is to start before k, or nil. k still has its place, or has just been added.
func (t *parkedOrder) before(k *task) *task {
	if !isPlaced(k) {
		return nil
	}
	for p := park.Critical; p > k.Priority; p-- {
		if first := t.class(p).fitting.first; first != nil {
			return first
		}
	}
	for other := t.class(k.Priority).fitting.first; other != nil; other = other.next {
		switch {
		case other == k || k.phase == queued && other.order > k.order:
			return nil
		case k.phase == queued && k.hasBackoff && other.parkingNo > k.parkingNo && other.order < 0:
			// Whether it was put before k is not known: before those that rested it was not.
		default:
			return other
		}
	}
	return nil
}

// resize sorts the tasks again after a change of the capacity.
func (t *parkedOrder) resize(most int64) {
	for i := range t.classes {
		c := &t.classes[i]
		var all []*task
		for _, in := range []*list{&c.fitting, &c.large} {
			for k := in.first; k != nil; k = k.next {
				all = append(all, k)
			}
			*in = list{}
		}
		slices.SortFunc(all, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
		for _, k := range all {
			in := &c.fitting
			if k.Units > most {
				in = &c.large
			}
			k.prev, k.next, k.list = nil, nil, nil
			in.insert(k, false)
		}
	}
}

func (l *list) insert(k *task, first bool) {
	k.list = l
	switch {
	case l.first == nil:
		l.first, l.last = k, k
	case first:
		k.next, l.first.prev, l.first = l.first, k, k
	default:
		k.prev, l.last.next, l.last = l.last, k, k
	}
}

func (l *list) remove(k *task) {
	if k.prev == nil {
		l.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		l.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	k.prev, k.next, k.list = nil, nil, nil
}

// deadlines is a heap of the tasks that have one and have not run.
type deadlines []*task

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].Deadline < d[j].Deadline }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].due, d[j].due = i+1, j+1
}

// Push implements [heap.Interface].
func (d *deadlines) Push(x any) {
	k, _ := x.(*task)
	*d = append(*d, k)
	k.due = len(*d)
}

// Pop implements [heap.Interface].
func (d *deadlines) Pop() any {
	old := *d
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	k.due = 0
	return k
}
