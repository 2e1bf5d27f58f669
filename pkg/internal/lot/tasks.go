package lot

// tasks holds the live tasks and finds them by their ids. The entries lie side by side in blocks and are referred to by
// number. So a million of them are a few thousand objects, and the references hold no pointers for the garbage collector
// to follow. [index] says what that saves.
type tasks struct {
	index    index
	blocks   []block
	withRoom []int32           // the numbers of the blocks that have room
	spare    *[blockSize]entry // an empty block, so that a single task that comes and goes needs no new one each time
}

// ref is the number of an entry, from 1. 0 means no entry.
type ref int32

// A block fills a size class of the allocator.
const (
	blockBits = 8
	blockSize = 1 << blockBits
)

// block is a part of the table. The released slots form a list, which is linked through the timer field of the entries.
type block struct {
	entries *[blockSize]entry // nil if no entry is live
	live    int32
	used    int32 // the slots from this one on were never used
	free    int32 // the slot released last, from 1; 0: none
	listed  bool  // the block is in tasks.withRoom, even if it has filled up since
}

func newTasks(room int) tasks { return tasks{index: newIndex(room)} }

func (t *tasks) at(r ref) *entry {
	return &t.blocks[(r-1)>>blockBits].entries[(r-1)&(blockSize-1)]
}

// find returns the entry with the id, or nil.
func (t *tasks) find(id string) *entry {
	x, hash := &t.index, t.index.hash(id)
	for i := x.home(hash); x.slots[i].ref != 0; i = x.following(i) {
		if x.slots[i].hash == hash {
			if e := t.at(x.slots[i].ref); e.id == id {
				return e
			}
		}
	}
	return nil
}

// addToIndex adds e to the index by its id, which no other entry has.
func (t *tasks) addToIndex(e *entry) { t.index.add(t.index.hash(e.id), e.ref) }

// removeFromIndex is the reverse of addToIndex.
func (t *tasks) removeFromIndex(e *entry) { t.index.remove(t.index.hash(e.id), e.ref) }

// allocate returns an empty entry.
func (t *tasks) allocate() *entry {
	for len(t.withRoom) > 0 {
		n := t.withRoom[len(t.withRoom)-1]
		b := &t.blocks[n]
		if slot, ok := t.takeSlot(b); ok {
			e := &b.entries[slot]
			e.timer, e.ref = 0, ref(n<<blockBits+slot)+1
			return e
		}
		b.listed, t.withRoom = false, t.withRoom[:len(t.withRoom)-1]
	}
	t.withRoom = append(t.withRoom, int32(len(t.blocks)))
	t.blocks = append(t.blocks, block{listed: true})
	return t.allocate()
}

// takeSlot takes a slot of b, if b has room.
func (t *tasks) takeSlot(b *block) (slot int32, ok bool) {
	if b.entries == nil {
		if b.entries, t.spare = t.spare, nil; b.entries == nil {
			b.entries = new([blockSize]entry)
		}
	}
	switch {
	case b.free != 0:
		slot = b.free - 1
		b.free = b.entries[slot].timer
	case b.used < blockSize:
		slot = b.used
		b.used++
	default:
		return 0, false
	}
	b.live++
	return slot, true
}

// release frees the slot of an entry that nothing refers to any more.
func (t *tasks) release(e *entry) {
	n, slot := int32(e.ref-1)>>blockBits, int32(e.ref-1)&(blockSize-1)
	b := &t.blocks[n]
	*e = entry{timer: b.free}
	b.free = slot + 1
	if b.live--; b.live == 0 {
		clear(b.entries[:b.used]) // removes the list of free slots
		t.spare = b.entries
		b.entries, b.used, b.free = nil, 0, 0
	}
	if !b.listed {
		b.listed = true
		t.withRoom = append(t.withRoom, n)
	}
}

// all calls yield for each live entry, in no particular order.
func (t *tasks) all(yield func(*entry) bool) {
	for i := range t.blocks {
		b := &t.blocks[i]
		if b.entries == nil {
			continue
		}
		for k := range b.entries[:b.used] {
			if e := &b.entries[k]; e.phase != removed && !yield(e) {
				return
			}
		}
	}
}
