package lot

import (
	"errors"
	"fmt"
)

// CheckAll derives all that the lot keeps about its tasks from the tasks alone, and returns an error if anything
// differs. It is for tests: [Lot.Check] compares only the totals.
func (l *Lot) CheckAll() error {
	if err := l.Check(); err != nil {
		return err
	}
	for _, check := range []func() error{l.checkBlocks, l.checkIndex, l.checkEntries, l.checkTimers, l.checkSpares} {
		if err := check(); err != nil {
			return err
		}
	}
	for i := range l.classes {
		if err := l.checkClass(i); err != nil {
			return fmt.Errorf("class %d: %w", i, err)
		}
	}
	return nil
}

// checkBlocks checks that each slot of a block is taken, in the list of free slots, or never used.
func (l *Lot) checkBlocks() error {
	listed := map[int32]int{}
	for _, n := range l.tasks.withRoom {
		listed[n]++
	}
	for n := range l.tasks.blocks {
		b := &l.tasks.blocks[n]
		if want := boolToInt(b.listed); listed[int32(n)] != want {
			return fmt.Errorf("block %d is %d times among those with room, and says %t", n, listed[int32(n)], b.listed)
		}
		if room := b.free != 0 || b.used < blockSize; room && !b.listed {
			return fmt.Errorf("block %d has room and is not among those that have", n)
		}
		if b.entries == nil {
			if b.live != 0 || b.used != 0 || b.free != 0 {
				return fmt.Errorf("block %d is empty, but says %d live, %d used, free from %d", n, b.live, b.used, b.free)
			}
			continue
		}
		if err := checkBlock(n, b); err != nil {
			return err
		}
	}
	return nil
}

func checkBlock(n int, b *block) error {
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

// checkIndex checks that the index finds each task by its id, and holds nothing else.
func (l *Lot) checkIndex() error {
	x := &l.tasks.index
	taken := 0
	for _, s := range x.slots {
		if s.ref == 0 {
			continue
		}
		taken++
		e := l.tasks.at(s.ref)
		if e.phase == removed || x.hash(e.id) != s.hash || l.tasks.find(e.id) != e {
			return fmt.Errorf("the index leads to task %q, which is in place %d, by a hash that is not its own or not alone", e.id, e.phase)
		}
	}
	live := 0
	for e := range l.tasks.all {
		if live++; l.tasks.find(e.id) != e {
			return fmt.Errorf("task %q is not found", e.id)
		}
	}
	if taken != live || x.count != live || 4*taken > 3*len(x.slots) || len(x.slots)&(len(x.slots)-1) != 0 || len(x.slots) < minSlots {
		return fmt.Errorf("the index has %d of %d slots taken and says %d, of %d tasks", taken, len(x.slots), x.count, live)
	}
	return nil
}

// checkEntries checks that each task is in the structure of its phase.
func (l *Lot) checkEntries() error {
	for e := range l.tasks.all {
		c := l.class(e.priority)
		var at ref
		if r := c.waiting.Get(e.rank); r != nil {
			at = *r
		}
		consistent := false
		_, rests := c.reserved[e.rank]
		switch e.phase {
		case waiting:
			consistent = at == e.ref && e.run == nil && !rests && (e.timer != 0) == (e.attempt == 0 && e.deadline != 0)
		case backingOff:
			consistent = at == 0 && rests && e.run == nil && e.timer != 0 && e.retry != nil
		case running:
			consistent = at != e.ref && e.run != nil && (e.timer != 0) == l.leased
		case removed:
		}
		if !consistent || e.undoIndex != 0 {
			return fmt.Errorf("task %q in place %d with rank %d is not kept as that (slot %d, rests %t, timer %d, touched %d)",
				e.id, e.phase, e.rank, at, rests, e.timer, e.undoIndex)
		}
		if e.phase != running && e.rank >= c.nextRank {
			return fmt.Errorf("task %q has rank %d, and the next to come has %d", e.id, e.rank, c.nextRank)
		}
	}
	return nil
}

// checkTimers checks that each heap has the right tasks, in order and with the right keys.
func (l *Lot) checkTimers() error {
	for name, t := range map[string]*timers{"deadlines": &l.deadlines, "rests": &l.backoffs, "leases": &l.leases} {
		want := map[ref]int64{}
		for e := range l.tasks.all {
			switch {
			case name == "deadlines" && e.phase == waiting && e.attempt == 0 && e.deadline != 0:
				want[e.ref] = e.deadline
			case name == "rests" && e.phase == backingOff:
				want[e.ref] = int64(e.retry.backoffEnd)
			case name == "leases" && e.phase == running && l.leased:
				want[e.ref] = int64(e.run.leaseEnd)
				if e.run.timeoutEnd > 0 {
					want[e.ref] = int64(min(e.run.leaseEnd, e.run.timeoutEnd))
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

// checkClass checks that a class has the tasks that wait in it, and that its scan state is right.
func (l *Lot) checkClass(i int) error {
	c := &l.classes[i]
	waits, reserved := 0, 0
	for e := range l.tasks.all {
		if int(e.priority-lowest) == i {
			waits, reserved = waits+boolToInt(e.phase == waiting), reserved+boolToInt(e.phase == backingOff)
		}
	}
	if c.waiting.Len() != waits || len(c.reserved) != reserved {
		return fmt.Errorf("it says %d wait and %d back off, but %d and %d do", c.waiting.Len(), len(c.reserved), waits, reserved)
	}
	return c.checkScan(&l.tasks)
}

// checkScan checks the scan state of a class against the costs of its tasks.
func (c *class) checkScan(all *tasks) error {
	behind := 0
	for rank, r := range c.waiting.All {
		e := all.at(*r)
		if e.rank != rank {
			return fmt.Errorf("task %q is at rank %d, not at its own, %d", e.id, rank, e.rank)
		}
		if e.units <= c.scanUnits && rank < c.scannedTo {
			if behind++; rank < c.firstBehind {
				return fmt.Errorf("task %q, of %d units, is at %d, before the first early one at %d", e.id, e.units, rank, c.firstBehind)
			}
		}
	}
	if behind != c.behindScan {
		return fmt.Errorf("it says %d early ones, but there are %d", c.behindScan, behind)
	}
	return nil
}

// checkSpares checks that the memory kept for reuse is empty.
func (l *Lot) checkSpares() error {
	if s := l.tasks.spare; s != nil && *s != [blockSize]entry{} {
		return errors.New("the spare block is not empty")
	}
	return nil
}
