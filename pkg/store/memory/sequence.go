package memory

import "github.com/parkd-dev/parkd/pkg/internal/sparse"

// sequence keeps items under rising numbers from 1.
type sequence[T any] struct {
	sparse.List[T]
	lastNumber int64 // the highest number given
}

// next returns the next number and its item, which is zero and to be set.
func (s *sequence[T]) next() (n int64, item *T) {
	s.lastNumber++
	return s.lastNumber, s.Add(s.lastNumber)
}

// search returns the lowest number that ok holds for: ok(item) must hold for every item after one it holds for,
// and numbers without an item count as the item after them. It returns one that is behind all items if ok holds for none.
func (s *sequence[T]) search(ok func(*T) bool) int64 {
	low, high := int64(0), s.lastNumber+1
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
