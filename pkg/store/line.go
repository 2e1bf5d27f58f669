package store

import "slices"

// Line is the nodes that have a step for a pool, in the order in which they shall store it, and what they would have
// another store for them, for a [Shared] store that keeps its data in memory. The zero value is a line without nodes.
type Line struct {
	nodes []string
	left  []note
}

// note is what a node would have another store for it.
type note struct{ node, text string }

// Join puts a node at the end, unless it stands in line already, and returns how many stand before it.
func (l *Line) Join(node string) int {
	at := l.place(node)
	if at == len(l.nodes) {
		l.nodes = append(l.nodes, node)
	}
	return at
}

// Stand is [Shared.Turn].
func (l *Line) Stand(node string, h Hand) Place {
	others := len(l.nodes)
	at := l.place(node)
	if at < len(l.nodes) {
		others--
	}
	if len(h.Note) > 0 && others > 0 {
		l.left = append(l.left, note{node, string(h.Note)})
	}
	if h.Whole && others > 0 {
		if at < len(l.nodes) {
			l.nodes = slices.Delete(l.nodes, at, at+1)
		}
		return Place{Ahead: others}
	}
	p := Place{Ahead: l.Join(node)}
	if p.Ahead > 0 {
		return p
	}
	p.Notes = l.take(node)
	return p
}

// take returns the notes of all others, the oldest first, up to [MaxNotes], and forgets them.
func (l *Line) take(node string) (notes [][]byte) {
	size, n := 0, 0
	for ; n < len(l.left) && size < MaxNotes; n++ {
		size += len(l.left[n].text)
		if l.left[n].node != node {
			notes = append(notes, []byte(l.left[n].text))
		}
	}
	l.left = slices.Delete(l.left, 0, n)
	return notes
}

// Pass takes out a node that has stored its step, and whoever stood before it and did not come in time. It returns how
// many are left.
func (l *Line) Pass(node string) int {
	if at := l.place(node); at < len(l.nodes) {
		l.nodes = l.nodes[at+1:]
	}
	return len(l.nodes)
}

// place returns how many stand before a node, all of them where it does not stand in line.
func (l *Line) place(node string) int {
	if at := slices.Index(l.nodes, node); at >= 0 {
		return at
	}
	return len(l.nodes)
}
