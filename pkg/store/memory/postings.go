package memory

import (
	"hash/maphash"
	"slices"
)

// postings holds the numbers of the items that have a name in common, in the order that matters to it.
type postings struct {
	name    string
	numbers []int64
}

// insert puts n at place at, which is mostly the end.
func (l *postings) insert(at int, n int64) {
	if at == len(l.numbers) {
		l.numbers = append(l.numbers, n)
		return
	}
	l.numbers = slices.Insert(l.numbers, at, n)
}

// remove takes n out. It costs the same however many there are as long as the oldest go first.
func (l *postings) remove(n int64) {
	if len(l.numbers) > 0 && l.numbers[0] == n {
		l.numbers = l.numbers[1:]
	} else if i := slices.Index(l.numbers, n); i >= 0 {
		l.numbers = slices.Delete(l.numbers, i, i+1)
	}
}

// postingIndex are lists by their names. The zero value is empty and ready to use.
type postingIndex struct {
	byName   map[string]*postings
	lastUsed *postings // what follows each other often has the same name
}

// get returns the list with the name, which it makes if need be.
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

// remove takes n out of l, and forgets l once it is empty.
func (x *postingIndex) remove(l *postings, n int64) {
	if l.remove(n); len(l.numbers) > 0 {
		return
	}
	delete(x.byName, l.name)
	if x.lastUsed == l {
		x.lastUsed = nil
	}
}

// hashChains find items by text that few of them share. Those whose texts have one hash are a chain: each holds the number of
// the one before it, and the index that of the last. So the index has nothing for the collector to follow.
type hashChains struct {
	seed   maphash.Seed
	newest map[uint64]int64
}

func newHashChains() hashChains {
	return hashChains{seed: maphash.MakeSeed(), newest: make(map[uint64]int64)}
}

func (c *hashChains) hash(text string) uint64 { return maphash.String(c.seed, text) }

// newestOf returns the number of the last item in the chain of text, 0 where there is none.
func (c *hashChains) newestOf(text string) int64 { return c.newest[c.hash(text)] }

// add makes item n the last one of the chain of text and returns the one before it, 0 for none.
func (c *hashChains) add(text string, n int64) (previous int64) {
	h := c.hash(text)
	previous = c.newest[h]
	c.newest[h] = n
	return previous
}

// removeFromChain takes item n of s out of the chain of text. before says where an item has the number of the one before it. Those
// of items that are no longer there end a chain, so the oldest one is left out by going.
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
