package store

import "slices"

// WaitList is the nodes that have a step for a pool, in the order in which they shall store it, and what they would have
// another store for them, for a [Shared] store that keeps its data in memory. The zero value is a line without nodes.
type WaitList struct {
	nodes []string
	notes []note
}

// note is what a node would have another store for it.
type note struct{ node, text string }

// Add puts a node at the end, unless it stands in line already, and returns how many stand before it.
func (l *WaitList) Add(node string) int {
	at := l.indexOf(node)
	if at == len(l.nodes) {
		l.nodes = append(l.nodes, node)
	}
	return at
}

// RequestTurn is [Shared.RequestTurn].
func (l *WaitList) RequestTurn(node string, h Delegation) Turn {
	others := len(l.nodes)
	at := l.indexOf(node)
	if at < len(l.nodes) {
		others--
	}
	if len(h.Note) > 0 && others > 0 {
		l.notes = append(l.notes, note{node, string(h.Note)})
	}
	if h.All && others > 0 {
		if at < len(l.nodes) {
			l.nodes = slices.Delete(l.nodes, at, at+1)
		}
		return Turn{Ahead: others}
	}
	p := Turn{Ahead: l.Add(node)}
	if p.Ahead > 0 {
		return p
	}
	p.Notes = l.takeNotes(node)
	return p
}

// takeNotes returns the notes of all others, the oldest first, up to [MaxNotes], and forgets them.
func (l *WaitList) takeNotes(node string) (notes [][]byte) {
	size, n := 0, 0
	for ; n < len(l.notes) && size < MaxNoteBytes; n++ {
		size += len(l.notes[n].text)
		if l.notes[n].node != node {
			notes = append(notes, []byte(l.notes[n].text))
		}
	}
	l.notes = slices.Delete(l.notes, 0, n)
	return notes
}

// Done takes out a node that has stored its step, and whoever stood before it and did not come in time. It returns how
// many are left.
func (l *WaitList) Done(node string) int {
	if at := l.indexOf(node); at < len(l.nodes) {
		l.nodes = l.nodes[at+1:]
	}
	return len(l.nodes)
}

// indexOf returns how many stand before a node, all of them where it does not stand in line.
func (l *WaitList) indexOf(node string) int {
	if at := slices.Index(l.nodes, node); at >= 0 {
		return at
	}
	return len(l.nodes)
}
