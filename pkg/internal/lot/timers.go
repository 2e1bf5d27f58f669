package lot

import "container/heap"

// timers is a heap of entries by the time at which each is due. An entry is in at most one heap and knows its index there,
// so it can be removed from the middle.
type timers struct {
	all  *tasks
	heap []timer
}

type timer struct {
	key int64
	ref ref
}

// first returns the entry that is due first. The heap must not be empty.
func (t *timers) first() *entry { return t.all.at(t.heap[0].ref) }

func (t *timers) add(e *entry, key int64) { heap.Push(t, timer{key, e.ref}) }

func (t *timers) remove(e *entry) {
	if e.timer != 0 {
		heap.Remove(t, int(e.timer)-1)
	}
}

// Len implements [heap.Interface].
func (t *timers) Len() int { return len(t.heap) }

// Less implements [heap.Interface].
func (t *timers) Less(i, j int) bool { return t.heap[i].key < t.heap[j].key }

// Swap implements [heap.Interface].
func (t *timers) Swap(i, j int) {
	h := t.heap
	h[i], h[j] = h[j], h[i]
	t.all.at(h[i].ref).timer, t.all.at(h[j].ref).timer = int32(i+1), int32(j+1)
}

// Push implements [heap.Interface].
func (t *timers) Push(x any) {
	added, _ := x.(timer)
	t.heap = append(t.heap, added)
	t.all.at(added.ref).timer = int32(len(t.heap))
}

// Pop implements [heap.Interface].
func (t *timers) Pop() any {
	last := len(t.heap) - 1
	t.all.at(t.heap[last].ref).timer = 0
	t.heap = t.heap[:last]
	return nil // no caller uses the result
}
