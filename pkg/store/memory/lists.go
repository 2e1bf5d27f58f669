package memory

import (
	"hash/maphash"
	"slices"
)

// list holds the numbers of the items that have a name in common, in the order that matters to it.
type list struct {
	name string
	ids  []int64
}

// insert puts n at place at, which is mostly the end.
func (l *list) insert(at int, n int64) {
	if at == len(l.ids) {
		l.ids = append(l.ids, n)
		return
	}
	l.ids = slices.Insert(l.ids, at, n)
}

// drop takes n out. It costs the same however many there are as long as the oldest go first.
func (l *list) drop(n int64) {
	if len(l.ids) > 0 && l.ids[0] == n {
		l.ids = l.ids[1:]
	} else if i := slices.Index(l.ids, n); i >= 0 {
		l.ids = slices.Delete(l.ids, i, i+1)
	}
}

// lists are lists by their names. The zero value is empty and ready to use.
type lists struct {
	byName map[string]*list
	recent *list // what follows each other often has the same name
}

// of returns the list with the name, which it makes if need be.
func (x *lists) of(name string) *list {
	if x.recent != nil && x.recent.name == name {
		return x.recent
	}
	l := x.byName[name]
	if l == nil {
		if x.byName == nil {
			x.byName = make(map[string]*list)
		}
		l = &list{name: name}
		x.byName[name] = l
	}
	x.recent = l
	return l
}

// remove takes n out of l, and forgets l once it is empty.
func (x *lists) remove(l *list, n int64) {
	if l.drop(n); len(l.ids) > 0 {
		return
	}
	delete(x.byName, l.name)
	if x.recent == l {
		x.recent = nil
	}
}

// chains find items by text that few of them share. Those whose texts have one hash are a chain: each holds the number of
// the one before it, and the index that of the last. So the index has nothing for the collector to follow.
type chains struct {
	seed maphash.Seed
	ends map[uint64]int64
}

func newChains() chains { return chains{seed: maphash.MakeSeed(), ends: make(map[uint64]int64)} }

func (c *chains) hash(text string) uint64 { return maphash.String(c.seed, text) }

// last returns the number of the last item in the chain of text, 0 where there is none.
func (c *chains) last(text string) int64 { return c.ends[c.hash(text)] }

// add makes item n the last one of the chain of text and returns the one before it, 0 for none.
func (c *chains) add(text string, n int64) (before int64) {
	h := c.hash(text)
	before = c.ends[h]
	c.ends[h] = n
	return before
}

// unlink takes item n of s out of the chain of text. before says where an item has the number of the one before it. Those
// of items that are no longer there end a chain, so the oldest one is left out by going.
func unlink[T any](c *chains, s *shelf[T], text string, n int64, before func(*T) *int64) {
	older := *before(s.Get(n))
	h := c.hash(text)
	switch last := c.ends[h]; {
	case s.Get(older) == nil && last == n:
		delete(c.ends, h)
	case s.Get(older) == nil:
	case last == n:
		c.ends[h] = older
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
