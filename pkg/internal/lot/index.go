package lot

import "hash/maphash"

// index finds numbers by hashes, of which several numbers may have one. It is a table in which a number lies in the first
// free slot from its hash's home on: of a million tasks a look takes one line of the processor's cache, where a map of ids
// takes three and the ids themselves, and it holds nothing for the collector to follow.
type index struct {
	// seed makes ids that are meant to collide costly to find. It differs from process to process, and nothing that a lot
	// does hangs on it.
	seed    maphash.Seed
	slots   []slot // a power of two of them
	taken   int
	fetched ref // see fetch
}

// slot is free where ref is 0.
type slot struct {
	hash uint32
	ref  ref
}

const leastSlots = 64

func newIndex(room int) index {
	n := leastSlots
	for 3*n < 4*room {
		n *= 2
	}
	return index{seed: maphash.MakeSeed(), slots: make([]slot, n)}
}

func (x *index) hash(id string) uint32 { return uint32(maphash.String(x.seed, id)) }

func (x *index) home(hash uint32) uint32 { return hash & uint32(len(x.slots)-1) }

func (x *index) after(i uint32) uint32 { return (i + 1) & uint32(len(x.slots)-1) }

// largeIndex is more slots than the processor's cache holds for sure.
const largeIndex = 1 << 15

// fetch looks at where the tasks of ops will be looked for. None of these looks waits for another, so the processor has
// all of them fetched from memory in the time of one, which each would take by itself later.
func (x *index) fetch(ops []Op) {
	if len(x.slots) < largeIndex {
		return
	}
	var sum ref
	for _, op := range ops {
		sum += x.slots[x.home(x.hash(taskOf(op)))].ref
	}
	x.fetched = sum // which keeps the compiler from leaving it all out
}

// taskOf returns the id of the task that op is about, "" for none.
func taskOf(op Op) string {
	switch o := op.(type) {
	case Submit:
		return o.Spec.TaskID
	case Finish:
		return o.TaskID
	case Cancel:
		return o.TaskID
	case Keep:
		return o.TaskID
	case Requeue:
		return o.TaskID
	default:
		return ""
	}
}

func (x *index) add(hash uint32, r ref) {
	if x.taken++; 4*x.taken > 3*len(x.slots) {
		x.resize(2 * len(x.slots))
	}
	x.put(slot{hash, r})
}

func (x *index) put(s slot) {
	i := x.home(s.hash)
	for x.slots[i].ref != 0 {
		i = x.after(i)
	}
	x.slots[i] = s
}

// remove takes a number out that is there, and moves up those that it kept from their homes.
func (x *index) remove(hash uint32, r ref) {
	free := x.home(hash)
	for x.slots[free].ref != r {
		free = x.after(free)
	}
	last := uint32(len(x.slots) - 1)
	for i := x.after(free); x.slots[i].ref != 0; i = x.after(i) {
		// It may move to the free slot unless that is before its home.
		if (i-x.home(x.slots[i].hash))&last >= (i-free)&last {
			x.slots[free], free = x.slots[i], i
		}
	}
	x.slots[free] = slot{}
	if x.taken--; 16*x.taken < len(x.slots) && len(x.slots) > leastSlots {
		x.resize(len(x.slots) / 4)
	}
}

func (x *index) resize(n int) {
	old := x.slots
	x.slots = make([]slot, max(n, leastSlots))
	for _, s := range old {
		if s.ref != 0 {
			x.put(s)
		}
	}
}
