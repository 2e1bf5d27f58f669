package lot

// timers is a binary heap of entries by the instant at which something happens to them. An entry is in one
// heap at most and knows its place there, so that it can leave from the middle.
type timers struct {
	all  *tasks
	heap []timer
}

type timer struct {
	key int64
	ref ref
}

// first returns the entry to which something happens first, of a heap that is not empty.
func (t *timers) first() *entry { return t.all.at(t.heap[0].ref) }

func (t *timers) add(e *entry, key int64) {
	t.heap = append(t.heap, timer{key, e.ref})
	t.up(len(t.heap) - 1)
}

func (t *timers) remove(e *entry) {
	if e.timer == 0 {
		return
	}
	h, i, last := t.heap, int(e.timer)-1, len(t.heap)-1
	e.timer = 0
	if i != last {
		t.set(i, h[last])
	}
	t.heap = h[:last]
	if i != last {
		t.down(i)
		t.up(i)
	}
}

func (t *timers) up(i int) {
	h, moved := t.heap, t.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].key <= moved.key {
			break
		}
		t.set(i, h[parent])
		i = parent
	}
	t.set(i, moved)
}

func (t *timers) down(i int) {
	h, moved := t.heap, t.heap[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].key < h[child].key {
			child++
		}
		if moved.key <= h[child].key {
			break
		}
		t.set(i, h[child])
		i = child
	}
	t.set(i, moved)
}

func (t *timers) set(i int, v timer) {
	t.heap[i] = v
	t.all.at(v.ref).timer = int32(i + 1)
}
