package memory

import "github.com/parkd-dev/parkd/pkg/internal/sparse"

// sequence holds items under ascending numbers from 1.
type sequence[T any] struct {
	sparse.List[T]
	lastNumber int64 // the highest number assigned
}

// next returns the next number and its item, a zero value for the caller to set.
func (s *sequence[T]) next() (n int64, item *T) {
	s.lastNumber++
	return s.lastNumber, s.Add(s.lastNumber)
}

// search returns the lowest number for which ok holds, or one after all items if there is none. If ok holds for an
// item, it must hold for all later items. A number without an item counts like the next item.
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
