package store

// Line is the nodes that have a step for a pool, in the order in which they shall store it, for a [Shared] store that
// keeps its data in memory. The zero value is a line without nodes.
type Line []string

// Join puts a node at the end, unless it stands in line already, and returns how many stand before it.
func (l *Line) Join(node string) int {
	at := l.place(node)
	if at == len(*l) {
		*l = append(*l, node)
	}
	return at
}

// Pass takes out a node that has stored its step, and whoever stood before it and did not come in time. It returns how
// many are left.
func (l *Line) Pass(node string) int {
	if at := l.place(node); at < len(*l) {
		*l = (*l)[at+1:]
	}
	return len(*l)
}

// place returns how many stand before a node, all of them where it does not stand in line.
func (l *Line) place(node string) int {
	for i, other := range *l {
		if other == node {
			return i
		}
	}
	return len(*l)
}
