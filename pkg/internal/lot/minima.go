package lot

import "math"

// minima is a tree of numbers that finds the first that is at most a given one, from any place on, in logarithmic time.
// The places are 0 to size-1; a place that was never set holds the largest number.
type minima struct{ nodes []int64 } // the root is 1, the children of i are 2i and 2i+1, and the places follow each other from size on

// newMinima returns a tree with at least so many places.
func newMinima(places int) *minima {
	size := 1
	for size < places {
		size *= 2
	}
	m := &minima{nodes: make([]int64, 2*size)}
	for i := range m.nodes {
		m.nodes[i] = math.MaxInt64
	}
	return m
}

func (m *minima) size() int { return len(m.nodes) / 2 }

func (m *minima) set(place int, n int64) {
	i := m.size() + place
	for m.nodes[i] = n; i > 1; i /= 2 {
		least := min(m.nodes[i], m.nodes[i^1])
		if m.nodes[i/2] == least {
			return
		}
		m.nodes[i/2] = least
	}
}

// first returns the first place at or after from whose number is at most most, -1 where there is none.
func (m *minima) first(from int, most int64) int {
	i := m.size() + from
	for m.nodes[i] > most {
		for i&1 == 1 { // the last child, or the root: whatever follows is beyond its parent
			i /= 2
		}
		if i == 0 {
			return -1
		}
		i++
	}
	for i < m.size() {
		if i *= 2; m.nodes[i] > most {
			i++
		}
	}
	return i - m.size()
}
