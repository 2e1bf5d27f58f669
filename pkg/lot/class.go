package lot

// class holds the waiting tasks of one priority in the order of their ranks. It is a ring of chunks addressed
// by rank: joining at either end, leaving from anywhere and finding the first cost the same however many wait.
type class struct {
	chunks []*chunk
	first  int64 // the number of chunks[0]
	live   int
	next   int64     // the rank behind all that have been here
	one    [1]*chunk // where chunks begins after it was empty
	spare  *chunk    // an empty one: a task that starts at once joins and leaves, and would need a new one each time
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
	low   int // no slot below it is taken
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

func (c *class) insert(rank int64, r ref) {
	number, slot := split(rank)
	k := c.chunk(number)
	k.slots[slot] = r
	k.low = min(k.low, slot)
	k.live++
	c.live++
}

// chunk returns the chunk with the number, which it makes if need be.
func (c *class) chunk(number int64) *chunk {
	if len(c.chunks) == 0 {
		c.first, c.chunks = number, c.one[:0]
	}
	if ahead := c.first - number; ahead > 0 {
		c.chunks = append(make([]*chunk, ahead, ahead+int64(len(c.chunks))+4), c.chunks...)
		c.first = number
	}
	for int64(len(c.chunks)) <= number-c.first {
		c.chunks = append(c.chunks, nil)
	}
	k := &c.chunks[number-c.first]
	if *k == nil {
		if *k, c.spare = c.spare, nil; *k == nil {
			*k = &chunk{}
		}
		(*k).low = chunkSize
	}
	return *k
}

func (c *class) remove(rank int64) {
	number, slot := split(rank)
	k := c.chunks[number-c.first]
	k.slots[slot] = 0
	k.live--
	c.live--
	if k.live == 0 {
		c.chunks[number-c.first], c.spare = nil, k
	}
	for len(c.chunks) > 0 && c.chunks[0] == nil {
		c.chunks = c.chunks[1:]
		c.first++
	}
}

// head returns the task with the lowest rank, 0 where none waits.
func (c *class) head() ref {
	if c.live == 0 {
		return 0
	}
	return c.chunks[0].slots[c.lead()]
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

// position counts from 1 the tasks that start no later than e. A task in a backoff is placed where it will
// wait. Anything but a parked task has position 0.
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
