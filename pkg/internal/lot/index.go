package lot

import "hash/maphash"

// index finds entry numbers by hash. It is a hash table with linear probing: a number is in the first free slot from the
// home slot of its hash on. Several numbers may have the same hash. Compared with a map from ids to pointers, the index
// and the blocks of [tasks] save 29 of 203 bytes for each parked task (BenchmarkMemory of this package), and 10 of 218 MB
// of a daemon with 300,000 parked tasks on file.
type index struct {
	// seed makes it costly to find ids that collide on purpose. It differs between processes, and no decision of the lot
	// depends on it.
	seed  maphash.Seed
	slots []slot // their number is a power of two
	count int
}

// slot is free if ref is 0.
type slot struct {
	hash uint32
	ref  ref
}

const minSlots = 64

func newIndex(room int) index {
	n := minSlots
	for 3*n < 4*room {
		n *= 2
	}
	return index{seed: maphash.MakeSeed(), slots: make([]slot, n)}
}

func (x *index) hash(id string) uint32 { return uint32(maphash.String(x.seed, id)) }

func (x *index) home(hash uint32) uint32 { return hash & uint32(len(x.slots)-1) }

func (x *index) following(i uint32) uint32 { return (i + 1) & uint32(len(x.slots)-1) }

func (x *index) add(hash uint32, r ref) {
	if x.count++; 4*x.count > 3*len(x.slots) {
		x.resize(2 * len(x.slots))
	}
	x.put(slot{hash, r})
}

func (x *index) put(s slot) {
	i := x.home(s.hash)
	for x.slots[i].ref != 0 {
		i = x.following(i)
	}
	x.slots[i] = s
}

// remove removes a number that is in the table, and moves up the numbers that it kept from their home slots.
func (x *index) remove(hash uint32, r ref) {
	free := x.home(hash)
	for x.slots[free].ref != r {
		free = x.following(free)
	}
	last := uint32(len(x.slots) - 1)
	for i := x.following(free); x.slots[i].ref != 0; i = x.following(i) {
		// The number at i may move to the free slot, unless that is before its home slot.
		if (i-x.home(x.slots[i].hash))&last >= (i-free)&last {
			x.slots[free], free = x.slots[i], i
		}
	}
	x.slots[free] = slot{}
	if x.count--; 16*x.count < len(x.slots) && len(x.slots) > minSlots {
		x.resize(len(x.slots) / 4)
	}
}

func (x *index) resize(n int) {
	old := x.slots
	x.slots = make([]slot, max(n, minSlots))
	for _, s := range old {
		if s.ref != 0 {
			x.put(s)
		}
	}
}
