package store

import "slices"

// WaitList holds the nodes that have a step for a pool, in the order of their turns, and their notes. A [Shared] store
// that keeps its data in memory uses it. The zero value is an empty list.
type WaitList struct {
	nodes []string
	notes []note
}

// note is what a node delegates to others; see [Delegation].
type note struct{ node, text string }

// Add appends a node unless it waits already, and returns how many nodes wait before it.
func (l *WaitList) Add(node string) int {
	at := l.indexOf(node)
	if at == len(l.nodes) {
		l.nodes = append(l.nodes, node)
	}
	return at
}

// RequestTurn implements [Shared.RequestTurn].
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

// takeNotes removes the notes of all other nodes and returns them, the oldest first, up to [MaxNoteBytes].
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

// Done removes a node that has stored its step, and all nodes before it, which did not come in time. It returns how
// many are left.
func (l *WaitList) Done(node string) int {
	if at := l.indexOf(node); at < len(l.nodes) {
		l.nodes = l.nodes[at+1:]
	}
	return len(l.nodes)
}

// indexOf returns how many nodes wait before a node, or the number of all nodes if it does not wait.
func (l *WaitList) indexOf(node string) int {
	if at := slices.Index(l.nodes, node); at >= 0 {
		return at
	}
	return len(l.nodes)
}
