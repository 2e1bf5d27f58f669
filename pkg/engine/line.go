package engine

import "time"

// Whose turn it is where several nodes have steps for one pool. A step that is decided while another node's is being
// stored comes to nothing, with all that went into it. So nodes that meet stand in line, which the store keeps. It is
// advice: nobody is refused for a turn, and nobody waits for longer than the turns of those before it are likely to take.

const (
	// minPatience and maxPatience bound how long a node waits for its turn.
	minPatience = 2 * time.Millisecond
	maxPatience = 100 * time.Millisecond
	// minLook and maxLook bound the time between two looks at the line.
	minLook = 300 * time.Microsecond
	maxLook = 10 * time.Millisecond
)

// takeTurn stands in line until it is this node's turn. What others did meanwhile is to be caught up with.
func (p *pool) takeTurn() {
	p.rivals, p.behind = 0, true
	var patience time.Duration
	for began := p.eng.clock.mono(); ; {
		ahead, err := p.node.store.Turn(p.eng.ctx, p.ID, p.as)
		if err != nil || ahead == 0 {
			return // the step itself will tell what is wrong
		}
		turns := time.Duration(ahead) * p.stepped
		if patience == 0 {
			patience = min(max(4*turns, minPatience), maxPatience)
		}
		left := began + patience - p.eng.clock.mono()
		if left <= 0 || !p.eng.rest(min(left, max(turns/2, minLook), maxLook)) {
			return
		}
	}
}
