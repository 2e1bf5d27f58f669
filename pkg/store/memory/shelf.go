package memory

import (
	"math/bits"
	"slices"
)

const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
	wordBits  = 64
)

// shelf keeps items under rising numbers from 1. Adding, finding and removing cost the same however many there
// are. The zero value is empty and ready to use.
type shelf[T any] struct {
	chunks []*chunk[T]
	first  int64 // the number of chunks[0]
	last   int64 // the highest item number given
}

type chunk[T any] struct {
	live  int
	taken [chunkSize / wordBits]uint64
	items [chunkSize]T
}

// add keeps v under the next number.
func (s *shelf[T]) add(v T) int64 {
	s.put(s.last+1, v)
	return s.last
}

// put keeps v under number n, which must be above all numbers before.
func (s *shelf[T]) put(n int64, v T) {
	number, slot := n>>chunkBits, n&(chunkSize-1)
	if len(s.chunks) == 0 {
		s.first = number
	}
	for int64(len(s.chunks)) <= number-s.first {
		s.chunks = append(s.chunks, nil)
	}
	c := &s.chunks[number-s.first]
	if *c == nil {
		*c = &chunk[T]{}
	}
	(*c).items[slot] = v
	(*c).taken[slot/wordBits] |= 1 << (slot % wordBits)
	(*c).live++
	s.last = n
}

// get returns the item with number n, nil where there is none.
func (s *shelf[T]) get(n int64) *T {
	number, slot := n>>chunkBits, n&(chunkSize-1)
	if number < s.first || number-s.first >= int64(len(s.chunks)) {
		return nil
	}
	c := s.chunks[number-s.first]
	if c == nil || c.taken[slot/wordBits]&(1<<(slot%wordBits)) == 0 {
		return nil
	}
	return &c.items[slot]
}

// remove forgets the item with number n and reports whether there was one.
func (s *shelf[T]) remove(n int64) bool {
	item := s.get(n)
	if item == nil {
		return false
	}
	number, slot := n>>chunkBits, n&(chunkSize-1)
	c := s.chunks[number-s.first]
	var none T
	*item = none
	c.taken[slot/wordBits] &^= 1 << (slot % wordBits)
	if c.live--; c.live > 0 {
		return true
	}
	s.chunks[number-s.first] = nil
	for len(s.chunks) > 0 && s.chunks[0] == nil {
		s.chunks = s.chunks[1:]
		s.first++
	}
	return true
}

// from returns the first item with a number of at least n; 0 and nil where there is none.
func (s *shelf[T]) from(n int64) (int64, *T) {
	n = max(n, s.first<<chunkBits)
	for at := n>>chunkBits - s.first; at < int64(len(s.chunks)); at++ {
		base := (s.first + at) << chunkBits
		if slot := s.chunks[at].above(max(n-base, 0)); slot >= 0 {
			return base + slot, &s.chunks[at].items[slot]
		}
	}
	return 0, nil
}

// upTo returns the last item with a number of at most n; 0 and nil where there is none.
func (s *shelf[T]) upTo(n int64) (int64, *T) {
	n = min(n, s.last)
	for at := n>>chunkBits - s.first; at >= 0 && len(s.chunks) > 0; at-- {
		base := (s.first + at) << chunkBits
		if slot := s.chunks[at].below(min(n-base, chunkSize-1)); slot >= 0 {
			return base + slot, &s.chunks[at].items[slot]
		}
	}
	return 0, nil
}

// search returns the lowest number that ok holds for: ok(item) must hold for every item after one it holds for,
// and numbers without an item count as the item after them. It returns s.last+1 where ok holds for none.
func (s *shelf[T]) search(ok func(*T) bool) int64 {
	low, high := s.first<<chunkBits, s.last+1
	for low < high {
		mid := low + (high-low)/2
		if n, item := s.from(mid); item == nil || ok(item) {
			high = mid
		} else {
			low = n + 1
		}
	}
	return low
}

func (c *chunk[T]) above(slot int64) int64 {
	if c == nil {
		return -1
	}
	for w := slot / wordBits; w < int64(len(c.taken)); w++ {
		word := c.taken[w]
		if w == slot/wordBits {
			word &= ^uint64(0) << (slot % wordBits)
		}
		if word != 0 {
			return w*wordBits + int64(bits.TrailingZeros64(word))
		}
	}
	return -1
}

func (c *chunk[T]) below(slot int64) int64 {
	if c == nil {
		return -1
	}
	for w := slot / wordBits; w >= 0; w-- {
		word := c.taken[w]
		if w == slot/wordBits {
			word &= ^uint64(0) >> (wordBits - 1 - slot%wordBits)
		}
		if word != 0 {
			return w*wordBits + int64(bits.Len64(word)) - 1
		}
	}
	return -1
}

// postings are the numbers of the items that have something in common, in the order that matters to it.
type postings struct {
	ids  []int64
	room [6]int64 // most tasks have no more events than this
}

// index finds items by what they have in common.
type index[K comparable] map[K]*postings

func (x index[K]) of(k K) *postings {
	p := x[k]
	if p == nil {
		p = &postings{}
		p.ids = p.room[:0]
		x[k] = p
	}
	return p
}

func (x index[K]) add(k K, n int64) {
	p := x.of(k)
	p.ids = append(p.ids, n)
}

// remove forgets item n under k. It costs the same however many there are as long as the oldest go first.
func (x index[K]) remove(k K, n int64) {
	p := x[k]
	if p == nil {
		return
	}
	if len(p.ids) > 0 && p.ids[0] == n {
		p.ids = p.ids[1:]
	} else if i := slices.Index(p.ids, n); i >= 0 {
		p.ids = slices.Delete(p.ids, i, i+1)
	}
	if len(p.ids) == 0 {
		delete(x, k)
	}
}

// insert puts n at place at, which is mostly the end.
func (p *postings) insert(at int, n int64) { p.ids = slices.Insert(p.ids, at, n) }
