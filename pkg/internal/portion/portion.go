// Package portion says how many rows to read from a store at once if nobody knows how large they are.
package portion

const (
	// MaxBytes is what one read of a store, and so one answer, is meant to hold at most.
	MaxBytes = 8 << 20
	// RowBytes is roughly what a row takes in addition to what clients put into it.
	RowBytes = 400
	// firstRows bounds the first read.
	firstRows = 64
)

// Portion is a read under way.
type Portion struct{ rows, bytes, next int }

// Of begins a read of rows that may hold results of up to so many bytes each.
func Of(largest int) Portion {
	return Portion{next: min(max(8*MaxBytes/max(largest, 1), 1), firstRows)}
}

// Next returns how many rows to read next: as many as are likely to hold MaxBytes, judged by the rows read so far. It
// is 0 for the zero value.
func (p *Portion) Next() int { return p.next }

// Read notes how much a read has brought.
func (p *Portion) Read(rows, bytes int) {
	p.rows, p.bytes = p.rows+rows, p.bytes+bytes
	if p.rows > 0 {
		p.next = min(max(MaxBytes/max(p.bytes/p.rows, 1), 1), 4*p.next)
	}
}

// Reset forgets all reads but for what Next says: for reads without an end, of which the latest tell the most.
func (p *Portion) Reset() { p.rows, p.bytes = 0, 0 }

// Full reports whether one answer holds enough.
func (p *Portion) Full() bool { return p.bytes >= MaxBytes }
