package memory

import "math/bits"

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

// next returns the next number and its item, which is zero and to be set.
func (s *shelf[T]) next() (n int64, item *T) {
	item = s.at(s.last + 1)
	return s.last, item
}

// at returns the item with number n, which is zero and to be set. n must be above all numbers before.
func (s *shelf[T]) at(n int64) *T {
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
	(*c).taken[slot/wordBits] |= 1 << (slot % wordBits)
	(*c).live++
	s.last = n
	return &(*c).items[slot]
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
