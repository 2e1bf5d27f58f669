package daemon

import "testing"

func TestGrowth(t *testing.T) {
	for _, c := range []struct{ live, spare uint64 }{
		{0, 95 << 20}, {4 << 20, 95 << 20}, {32 << 20, 88 << 20}, {192 << 20, 48 << 20}, {200 << 20, 50 << 20}, {900 << 20, 225 << 20},
	} {
		got := max(c.live, 4<<20) * uint64(growth(c.live)) / 100
		if got > c.spare || got < c.spare*98/100 {
			t.Errorf("%d live bytes leave room for %d more, want %d", c.live, got, c.spare)
		}
	}
}
