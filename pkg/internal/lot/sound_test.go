package lot

import (
	"errors"
	"fmt"
)

// Sound works out all that the lot keeps about its tasks again from the tasks alone, and returns an error where it is not
// that. It is for tests: [Lot.Check] looks at the totals only.
func (l *Lot) Sound() error {
	if err := l.Check(); err != nil {
		return err
	}
	for _, check := range []func() error{l.soundBlocks, l.soundIndex, l.soundEntries, l.soundTimers, l.soundSpares} {
		if err := check(); err != nil {
			return err
		}
	}
	for i := range l.classes {
		if err := l.soundClass(i); err != nil {
			return fmt.Errorf("class %d: %w", i, err)
		}
	}
	return nil
}

// soundBlocks sees that each slot of a block is taken, or in the list of free ones, or was never given.
func (l *Lot) soundBlocks() error {
	listed := map[int32]int{}
	for _, n := range l.tasks.open {
		listed[n]++
	}
	for n := range l.tasks.blocks {
		b := &l.tasks.blocks[n]
		if want := boolToInt(b.open); listed[int32(n)] != want {
			return fmt.Errorf("block %d is %d times among those with room, and says %t", n, listed[int32(n)], b.open)
		}
		if room := b.free != 0 || b.used < blockSize; room && !b.open {
			return fmt.Errorf("block %d has room and is not among those that have", n)
		}
		if b.entries == nil {
			if b.live != 0 || b.used != 0 || b.free != 0 {
				return fmt.Errorf("block %d is empty, but says %d live, %d used, free from %d", n, b.live, b.used, b.free)
			}
			continue
		}
		if err := soundBlock(n, b); err != nil {
			return err
		}
	}
	return nil
}

func soundBlock(n int, b *block) error {
	var live, free int32
	for k := range b.entries {
		e := &b.entries[k]
		switch {
		case e.ref == 0:
			if *e != (entry{timer: e.timer}) || int32(k) >= b.used && e.timer != 0 {
				return fmt.Errorf("block %d, slot %d was given back and holds %+v", n, k, *e)
			}
		case int(e.ref)-1 != n<<blockBits+k:
			return fmt.Errorf("block %d, slot %d holds number %d", n, k, e.ref)
		default:
			live++
		}
	}
	for at := b.free; at != 0; at = b.entries[at-1].timer {
		if free++; at > b.used || b.entries[at-1].ref != 0 || free > b.used {
			return fmt.Errorf("block %d has slot %d among the free ones", n, at-1)
		}
	}
	if live != b.live || live+free != b.used || live == 0 {
		return fmt.Errorf("block %d says %d live of %d used, but holds %d and %d free", n, b.live, b.used, live, free)
	}
	return nil
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// soundIndex sees that each task is found by its id, and nothing else is.
func (l *Lot) soundIndex() error {
	x := &l.tasks.index
	taken := 0
	for _, s := range x.slots {
		if s.ref == 0 {
			continue
		}
		taken++
		e := l.tasks.at(s.ref)
		if e.where == gone || x.hash(e.id) != s.hash || l.tasks.find(e.id) != e {
			return fmt.Errorf("the index leads to task %q, which is in place %d, by a hash that is not its own or not alone", e.id, e.where)
		}
	}
	live := 0
	for e := range l.tasks.all {
		if live++; l.tasks.find(e.id) != e {
			return fmt.Errorf("task %q is not found", e.id)
		}
	}
	if taken != live || x.taken != live || 4*taken > 3*len(x.slots) || len(x.slots)&(len(x.slots)-1) != 0 || len(x.slots) < leastSlots {
		return fmt.Errorf("the index has %d of %d slots taken and says %d, of %d tasks", taken, len(x.slots), x.taken, live)
	}
	return nil
}

// soundEntries sees that each task is where it says it is.
func (l *Lot) soundEntries() error {
	for e := range l.tasks.all {
		c := l.class(e.priority)
		var at ref
		if r := c.waits.Get(e.rank); r != nil {
			at = *r
		}
		kept := false
		_, rests := c.resting[e.rank]
		switch e.where {
		case waiting:
			kept = at == e.ref && e.run == nil && !rests && (e.timer != 0) == (e.attempt == 0 && e.deadline != 0)
		case resting:
			kept = at == 0 && rests && e.run == nil && e.timer != 0 && e.retry != nil
		case running:
			kept = at != e.ref && e.run != nil && (e.timer != 0) == l.leased
		case gone:
		}
		if !kept || e.touched != 0 {
			return fmt.Errorf("task %q in place %d with rank %d is not kept as that (slot %d, rests %t, timer %d, touched %d)",
				e.id, e.where, e.rank, at, rests, e.timer, e.touched)
		}
		if e.where != running && e.rank >= c.next {
			return fmt.Errorf("task %q has rank %d, and the next to come has %d", e.id, e.rank, c.next)
		}
	}
	return nil
}

// soundTimers sees that each heap holds the tasks that it should, in order and with their keys.
func (l *Lot) soundTimers() error {
	for name, t := range map[string]*timers{"deadlines": &l.parked, "rests": &l.rests, "leases": &l.leases} {
		want := map[ref]int64{}
		for e := range l.tasks.all {
			switch {
			case name == "deadlines" && e.where == waiting && e.attempt == 0 && e.deadline != 0:
				want[e.ref] = e.deadline
			case name == "rests" && e.where == resting:
				want[e.ref] = int64(e.retry.due)
			case name == "leases" && e.where == running && l.leased:
				want[e.ref] = int64(e.run.due)
				if e.run.limit > 0 {
					want[e.ref] = int64(min(e.run.due, e.run.limit))
				}
			}
		}
		for i, m := range t.heap {
			if t.heap[max(0, i-1)/2].key > m.key {
				return fmt.Errorf("%s: place %d comes before its parent", name, i)
			}
			if key, ok := want[m.ref]; !ok || key != m.key || int(l.tasks.at(m.ref).timer) != i+1 {
				return fmt.Errorf("%s: place %d holds task %q with %d", name, i, l.tasks.at(m.ref).id, m.key)
			}
		}
		if len(want) != len(t.heap) {
			return fmt.Errorf("%s: %d tasks of %d", name, len(t.heap), len(want))
		}
	}
	return nil
}

// soundClass sees that a class holds the tasks that wait in it, and that what it knows of their costs is true.
func (l *Lot) soundClass(i int) error {
	c := &l.classes[i]
	waits, rests := 0, 0
	for e := range l.tasks.all {
		if int(e.priority-lowest) == i {
			waits, rests = waits+boolToInt(e.where == waiting), rests+boolToInt(e.where == resting)
		}
	}
	if c.waits.Len() != waits || len(c.resting) != rests {
		return fmt.Errorf("it says %d wait and %d rest, but %d and %d do", c.waits.Len(), len(c.resting), waits, rests)
	}
	return c.soundHead(&l.tasks)
}

// soundHead sees that what a class knows of its tasks' costs is true.
func (c *class) soundHead(all *tasks) error {
	early := 0
	for rank, r := range c.waits.All {
		e := all.at(*r)
		if e.rank != rank {
			return fmt.Errorf("task %q is at rank %d, not at its own, %d", e.id, rank, e.rank)
		}
		if e.units <= c.most && rank < c.pass {
			if early++; rank < c.firstEarly {
				return fmt.Errorf("task %q, of %d units, is at %d, before the first early one at %d", e.id, e.units, rank, c.firstEarly)
			}
		}
	}
	if early != c.early {
		return fmt.Errorf("it says %d early ones, but there are %d", c.early, early)
	}
	return nil
}

// soundSpares sees that what is kept to be used again is empty.
func (l *Lot) soundSpares() error {
	if s := l.tasks.spare; s != nil && *s != [blockSize]entry{} {
		return errors.New("the spare block is not empty")
	}
	return nil
}
