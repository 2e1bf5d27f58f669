package env

// Left returns how many goroutines of the group have not ended.
func (g *Group) Left() int64 { return g.left.Load() }
