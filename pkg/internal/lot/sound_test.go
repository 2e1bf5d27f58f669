package lot

import (
	"errors"
	"fmt"
	"math"
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
		if e.where == gone || e.hash != s.hash || x.hash(e.id) != s.hash || l.tasks.find(e.id) != e {
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
		at, kept := c.at(e.rank), false
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

// at returns the number of the task that waits at a rank.
func (c *class) at(rank int64) ref {
	number, slot := split(rank)
	i := number - c.first
	if i < 0 || i >= int64(len(c.chunks)) || c.chunks[i] == nil {
		return 0
	}
	return c.chunks[i].slots[slot]
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
	if c.live != waits || len(c.resting) != rests {
		return fmt.Errorf("it says %d wait and %d rest, but %d and %d do", c.live, len(c.resting), waits, rests)
	}
	if len(c.chunks) > 0 && c.chunks[0] == nil || len(c.base) < len(c.chunks) {
		return fmt.Errorf("its ring of %d chunks in %d places begins with none", len(c.chunks), len(c.base))
	}
	live := 0
	for n, k := range c.chunks {
		if k == nil {
			continue
		}
		live += k.live
		if err := l.soundChunk(k); err != nil {
			return fmt.Errorf("chunk %d: %w", n, err)
		}
	}
	if live != waits {
		return fmt.Errorf("its chunks hold %d of %d", live, waits)
	}
	return c.soundCosts()
}

func (l *Lot) soundChunk(k *chunk) error {
	live := 0
	for slot, r := range k.slots {
		if r == 0 {
			continue
		}
		live++
		units := l.tasks.at(r).units
		if slot < k.low || units < k.least || slot < k.pass && units <= k.most {
			return fmt.Errorf("slot %d costs %d: first %d, least %d, none of up to %d before %d", slot, units, k.low, k.least, k.most, k.pass)
		}
	}
	if live != k.live || live == 0 {
		return fmt.Errorf("it says %d wait, but %d do", k.live, live)
	}
	return nil
}

// soundCosts sees that the tree says no more of a chunk than it costs, nothing of a chunk that is not there, and that
// each node is the least of its children.
func (c *class) soundCosts() error {
	if c.costs == nil {
		return nil
	}
	m := c.costs
	if c.live == 0 || m.size() < len(c.chunks) {
		return fmt.Errorf("its tree has %d places for %d chunks with %d tasks", m.size(), len(c.chunks), c.live)
	}
	for i := 1; i < m.size(); i++ {
		if m.nodes[i] != min(m.nodes[2*i], m.nodes[2*i+1]) {
			return fmt.Errorf("node %d of its tree is not the least of its children", i)
		}
	}
	for i := range m.size() {
		least := int64(math.MaxInt64)
		if at := (int64(i) - c.first) & int64(m.size()-1); at < int64(len(c.chunks)) && c.chunks[at] != nil {
			least = c.chunks[at].least
		}
		if got := m.nodes[m.size()+i]; got > least || least == math.MaxInt64 && got != least {
			return fmt.Errorf("place %d of its tree says %d, the chunk costs %d", i, got, least)
		}
	}
	return nil
}

// soundSpares sees that what is kept to be used again is empty.
func (l *Lot) soundSpares() error {
	if s := l.tasks.spare; s != nil && *s != [blockSize]entry{} {
		return errors.New("the spare block is not empty")
	}
	for i := range l.classes {
		if s := l.classes[i].spare; s != nil && (s.live != 0 || s.slots != [chunkSize]ref{}) {
			return fmt.Errorf("the spare chunk of class %d is not empty", i)
		}
	}
	return nil
}
