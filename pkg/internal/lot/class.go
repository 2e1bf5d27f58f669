package lot

import "math"

// class holds the waiting tasks of one priority in the order of their ranks. It is a ring of chunks addressed
// by rank: joining at either end, leaving from anywhere and finding the first cost the same however many wait.
//
// What is asked for is the first task that costs no more than the pool has: after the capacity was lowered there may be
// any number of others before it. Each chunk knows a cost below which none of its tasks is, and over these costs lies a
// tree, from the first time that the first chunk is not the answer until the class is empty.
type class struct {
	chunks []*chunk
	first  int64 // the number of chunks[0]
	live   int
	next   int64     // the rank behind all that have been here
	base   []*chunk  // whose end chunks is: what lies before it is room for those that come to the front
	one    [1]*chunk // where base begins after the class was empty
	spare  *chunk    // an empty one: a task that starts at once joins and leaves, and would need a new one each time
	costs  *minima   // what the chunks cost at least, by their numbers modulo its size; nil where it was not needed yet
	// resting holds the ranks of the tasks in a backoff, which nobody else may take meanwhile.
	resting map[int64]struct{}
}

// chunkBits makes a chunk small enough to scan and large enough that a million tasks need few.
const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
)

type chunk struct {
	live  int
	low   int   // no slot below it is taken
	least int64 // no task costs less; some may have, once
	most  int64 // no task below pass costs as little as that
	pass  int
	slots [chunkSize]ref
}

func split(rank int64) (number int64, slot int) {
	return rank >> chunkBits, int(rank & (chunkSize - 1))
}

// front returns a rank ahead of every task that waits.
func (c *class) front() int64 {
	if c.live == 0 {
		return c.next
	}
	first := c.first<<chunkBits + int64(c.lead())
	for rank := first - 1; ; rank-- {
		if _, taken := c.resting[rank]; !taken {
			return rank
		}
	}
}

func (c *class) rest(rank int64) {
	if c.resting == nil {
		c.resting = make(map[int64]struct{})
	}
	c.resting[rank] = struct{}{}
}

func (c *class) insert(rank int64, r ref, units int64) {
	number, slot := split(rank)
	k := c.chunk(number)
	k.slots[slot] = r
	k.low = min(k.low, slot)
	k.live++
	c.live++
	if units <= k.most {
		k.pass = min(k.pass, slot)
	}
	if units < k.least {
		k.least = units
		c.note(number)
	}
}

// note takes what a chunk costs at least into the tree, if there is one.
func (c *class) note(number int64) {
	if c.costs == nil {
		return
	}
	least := int64(math.MaxInt64)
	if k := c.chunks[number-c.first]; k != nil {
		least = k.least
	}
	c.costs.set(c.place(number), least)
}

// place returns a chunk's place in the tree.
func (c *class) place(number int64) int { return int(number & int64(c.costs.size()-1)) }

// chunk returns the chunk with the number, which it makes if need be.
func (c *class) chunk(number int64) *chunk {
	if len(c.chunks) == 0 {
		c.first, c.base = number, c.one[:0]
	}
	if ahead := c.first - number; ahead > 0 {
		c.stretchFront(int(ahead))
	}
	for int64(len(c.chunks)) <= number-c.first {
		c.stretchBack()
	}
	k := &c.chunks[number-c.first]
	if *k == nil {
		if *k, c.spare = c.spare, nil; *k == nil {
			*k = &chunk{}
		}
		(*k).low, (*k).least, (*k).most = chunkSize, math.MaxInt64, 0
	}
	if c.costs != nil && len(c.chunks) > c.costs.size() {
		c.grow()
	}
	return *k
}

// stretchFront adds so many places before the first chunk. Where there is no room for them it makes as much again, so
// that a class of many is not copied each time that one comes to its front and goes.
func (c *class) stretchFront(by int) {
	room := len(c.base) - len(c.chunks)
	if room < by {
		room = by + len(c.chunks)
		base := make([]*chunk, room+len(c.chunks))
		copy(base[room:], c.chunks)
		c.base = base
	}
	c.first -= int64(by)
	c.chunks = c.base[room-by:]
}

// stretchBack adds a place behind the last chunk.
func (c *class) stretchBack() {
	room := len(c.base) - len(c.chunks)
	if len(c.base) == cap(c.base) && room > len(c.chunks) {
		n := copy(c.base, c.chunks)
		clear(c.base[n:])
		c.base, room = c.base[:n], 0
	}
	c.base = append(c.base, nil)
	c.chunks = c.base[room:]
}

// grow makes the tree anew, with room for as many chunks again.
func (c *class) grow() {
	c.costs = newMinima(2 * len(c.chunks))
	for i, k := range c.chunks {
		if k != nil {
			c.note(c.first + int64(i))
		}
	}
}

func (c *class) remove(rank int64) {
	number, slot := split(rank)
	k := c.chunks[number-c.first]
	k.slots[slot] = 0
	k.live--
	c.live--
	if k.live == 0 {
		c.chunks[number-c.first], c.spare = nil, k
		c.note(number)
	}
	if c.live == 0 {
		c.costs = nil
	}
	for len(c.chunks) > 0 && c.chunks[0] == nil {
		c.chunks = c.chunks[1:]
		c.first++
	}
}

// head returns the task with the lowest rank of those that cost at most so many units, 0 where no such task waits.
func (c *class) head(all *tasks, most int64) ref {
	if c.live == 0 {
		return 0
	}
	if r := c.chunks[0].head(all, most); r != 0 {
		return r
	}
	if c.costs == nil {
		c.grow()
	}
	for {
		at := c.costs.first(c.place(c.first), most)
		if at < 0 {
			at = c.costs.first(0, most) // the ring goes on at the beginning
		}
		if at < 0 {
			return 0
		}
		ahead := (at - c.place(c.first)) & (c.costs.size() - 1)
		if r := c.chunks[ahead].head(all, most); r != 0 {
			return r
		}
		c.note(c.first + int64(ahead))
	}
}

// head is the same for one chunk. Where it has no such task, it knows that afterwards.
func (k *chunk) head(all *tasks, most int64) ref {
	if k.least > most {
		return 0
	}
	if k.most != most {
		k.most, k.pass = most, k.low
	}
	for ; k.pass < chunkSize; k.pass++ {
		if r := k.slots[k.pass]; r != 0 && all.at(r).units <= most {
			return r
		}
	}
	k.least = most + 1
	return 0
}

// all calls yield for each task, in order.
func (c *class) all(yield func(ref) bool) {
	for _, k := range c.chunks {
		if k == nil {
			continue
		}
		for _, r := range k.slots {
			if r != 0 && !yield(r) {
				return
			}
		}
	}
}

// lead returns the slot of the task with the lowest rank in the first chunk, of a class in which some wait.
func (c *class) lead() int {
	k := c.chunks[0]
	for k.slots[k.low] == 0 {
		k.low++
	}
	return k.low
}

// ahead counts the tasks with a lower rank.
func (c *class) ahead(rank int64) int64 {
	number, slot := split(rank)
	var n int64
	for i, k := range c.chunks {
		if k == nil {
			continue
		}
		switch at := c.first + int64(i); {
		case at < number:
			n += int64(k.live)
		case at == number:
			for _, r := range k.slots[:slot] {
				if r != 0 {
					n++
				}
			}
		}
	}
	return n
}

// position returns e's place in the order, from 1. A task in a backoff is placed where it will wait. One that costs more
// than the pool has keeps its place, and counts in those of the tasks behind it, though it is passed over. Anything but a
// parked task has position 0.
func (l *Lot) position(e *entry) int64 {
	if e.where != waiting && e.where != resting {
		return 0
	}
	n := l.class(e.priority).ahead(e.rank) + 1
	for i := int(e.priority-lowest) + 1; i < len(l.classes); i++ {
		n += int64(l.classes[i].live)
	}
	return n
}
