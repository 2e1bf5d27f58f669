package memory

import (
	"hash/maphash"
	"slices"
)

// postings holds the numbers of all items with one name, in the order that its index needs.
type postings struct {
	name    string
	numbers []int64
}

// insert inserts n at index at, which is usually the end.
func (l *postings) insert(at int, n int64) {
	if at == len(l.numbers) {
		l.numbers = append(l.numbers, n)
		return
	}
	l.numbers = slices.Insert(l.numbers, at, n)
}

// remove removes n. If the oldest numbers are removed first, the cost does not depend on the length.
func (l *postings) remove(n int64) {
	if len(l.numbers) > 0 && l.numbers[0] == n {
		l.numbers = l.numbers[1:]
	} else if i := slices.Index(l.numbers, n); i >= 0 {
		l.numbers = slices.Delete(l.numbers, i, i+1)
	}
}

// postingIndex holds postings by name. The zero value is empty and ready to use.
type postingIndex struct {
	byName   map[string]*postings
	lastUsed *postings // consecutive items often have the same name
}

// get returns the postings of a name, and creates them if necessary.
func (x *postingIndex) get(name string) *postings {
	if x.lastUsed != nil && x.lastUsed.name == name {
		return x.lastUsed
	}
	l := x.byName[name]
	if l == nil {
		if x.byName == nil {
			x.byName = make(map[string]*postings)
		}
		l = &postings{name: name}
		x.byName[name] = l
	}
	x.lastUsed = l
	return l
}

// remove removes n from l, and l itself once it is empty.
func (x *postingIndex) remove(l *postings, n int64) {
	if l.remove(n); len(l.numbers) > 0 {
		return
	}
	delete(x.byName, l.name)
	if x.lastUsed == l {
		x.lastUsed = nil
	}
}

// hashChains finds items by a text that few of them share. Items whose texts have the same hash form a chain: each
// holds the number of the previous one, and the map holds the number of the newest. So the map has no pointers for the
// garbage collector to follow.
type hashChains struct {
	seed   maphash.Seed
	newest map[uint64]int64
}

func newHashChains() hashChains {
	return hashChains{seed: maphash.MakeSeed(), newest: make(map[uint64]int64)}
}

func (c *hashChains) hash(text string) uint64 { return maphash.String(c.seed, text) }

// newestOf returns the number of the newest item in the chain of text, or 0 if it is empty.
func (c *hashChains) newestOf(text string) int64 { return c.newest[c.hash(text)] }

// add makes item n the newest of the chain of text, and returns the one before it, or 0.
func (c *hashChains) add(text string, n int64) (previous int64) {
	h := c.hash(text)
	previous = c.newest[h]
	c.newest[h] = n
	return previous
}

// removeFromChain removes item n of s from the chain of text. before returns where an item holds the number of the
// previous one. A number without an item ends a chain, so the oldest item leaves its chain just by being removed from
// s.
func removeFromChain[T any](c *hashChains, s *sequence[T], text string, n int64, before func(*T) *int64) {
	older := *before(s.Get(n))
	h := c.hash(text)
	switch last := c.newest[h]; {
	case s.Get(older) == nil && last == n:
		delete(c.newest, h)
	case s.Get(older) == nil:
	case last == n:
		c.newest[h] = older
	default:
		for {
			at := before(s.Get(last))
			if *at == n {
				*at = older
				return
			}
			last = *at
		}
	}
}
