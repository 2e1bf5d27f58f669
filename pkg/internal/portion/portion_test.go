package portion

import (
	"slices"
	"testing"
)

// TestPortionsGrow fourfold at most, as long as the rows are small.
func TestPortionsGrow(t *testing.T) {
	for _, c := range []struct {
		largest, bytes int // of a result at most, and of each row
		want           []int
	}{
		{0, RowBytes, []int{64, 256, 1024, 4096}},
		{1 << 20, RowBytes, []int{64, 256, 1024}},
		{1<<20 + 1, RowBytes, []int{63, 252}},
		{1 << 10, 1 << 20, []int{64, 8, 8}},
		{64 << 20, 1 << 10, []int{1, 4, 16, 64, 256}},
		{1 << 40, 1 << 30, []int{1, 1, 1}},
		{64 << 20, 0, []int{1, 4, 16}},
	} {
		p := Of(c.largest)
		var got []int
		for range c.want {
			got = append(got, p.Next())
			p.Read(p.Next(), p.Next()*c.bytes)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: portions of %v", c, got)
		}
	}
}

// TestPortions: the largest rows that there may be bound the first read, and the rows read so far bound each further one.
func TestPortions(t *testing.T) {
	for most, want := range map[int]int{0: firstRows, 1 << 20: 64, 2 << 20: 32, 8 << 20: 8, 1 << 30: 1} {
		if p := Of(most); p.Next() != want {
			t.Errorf("of rows of at most %d bytes %d are read, want %d", most, p.Next(), want)
		}
	}
	p := Of(2 << 20)
	p.Read(0, 0)
	if p.Next() != 32 || p.Full() {
		t.Errorf("after nothing was read: %+v", p)
	}
	for _, c := range []struct {
		rows, bytes, next int
		full              bool
	}{
		{32, 32, 128, false},                // of tiny rows four times as many
		{0, 0, 512, false},                  // by what was read before
		{0, 4<<20 - 32, 64, false},          // of 128 KiB each
		{0, 4<<20 - 1, 32, false},           // a byte less than is enough
		{0, 1, 32, true},                    // of 256 KiB each
		{0, 32 * 16 << 20, 1, true},         // larger than a read is meant to hold
		{1, 0, 1, true}, {1000, 0, 4, true}, // no more than four times the last
	} {
		if p.Read(c.rows, c.bytes); p.Next() != c.next || p.Full() != c.full {
			t.Errorf("after %+v: %+v, full %t", c, p, p.Full())
		}
	}
}

// TestPortionIsFull once enough was read. A reset forgets that, and what was read, but not how much to read next.
func TestPortionIsFull(t *testing.T) {
	var none Portion
	if none.Next() != 0 || none.Full() {
		t.Errorf("the zero value: %+v", none)
	}
	p := Of(1)
	p.Read(0, 0)
	if p.Next() != firstRows || p.Full() {
		t.Errorf("after nothing was read: %+v", p)
	}
	p.Read(1, MaxBytes-1)
	if p.Next() != 1 || p.Full() {
		t.Errorf("with a byte less: %+v", p)
	}
	p.Read(0, 1)
	if p.Next() != 1 || !p.Full() {
		t.Errorf("with all bytes: %+v", p)
	}
	p.Reset()
	if p.Next() != 1 || p.Full() {
		t.Errorf("after a reset: %+v", p)
	}
	if p.Read(4, 4*RowBytes); p.Next() != 4 {
		t.Errorf("after small rows: %+v", p)
	}
}
