package memory

import "github.com/parkd-dev/parkd/pkg/internal/sparse"

// shelf keeps items under rising numbers from 1.
type shelf[T any] struct {
	sparse.List[T]
	last int64 // the highest number given
}

// next returns the next number and its item, which is zero and to be set.
func (s *shelf[T]) next() (n int64, item *T) {
	s.last++
	return s.last, s.Add(s.last)
}

// search returns the lowest number that ok holds for: ok(item) must hold for every item after one it holds for,
// and numbers without an item count as the item after them. It returns one that is behind all items if ok holds for none.
func (s *shelf[T]) search(ok func(*T) bool) int64 {
	low, high := int64(0), s.last+1
	for low < high {
		mid := low + (high-low)/2
		if n, item := s.From(mid); item == nil || ok(item) {
			high = mid
		} else {
			low = n + 1
		}
	}
	return low
}
