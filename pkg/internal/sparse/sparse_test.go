package sparse_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/internal/sparse"
)

// TestAgainstMap adds items at both ends and takes them out from anywhere, and finds what a map holds.
func TestAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l sparse.List[int64]
		want := map[int64]int64{}
		add := func(n int64) {
			item := l.Add(n)
			if *item != 0 {
				t.Fatalf("the new item %d is %d", n, *item)
			}
			*item, want[n] = n+1, n+1
		}
		add(rapid.Int64Range(-600, 600).Draw(t, "start"))
		first, last := ends(want)
		t.Repeat(map[string]func(*rapid.T){
			"at the end": func(t *rapid.T) {
				for range rapid.IntRange(1, 300).Draw(t, "count") {
					last++
					add(last)
				}
			},
			"at the front": func(t *rapid.T) {
				first -= rapid.Int64Range(1, 600).Draw(t, "gap")
				add(first)
			},
			"behind a gap": func(t *rapid.T) {
				last += rapid.Int64Range(1, 600).Draw(t, "gap")
				add(last)
			},
			"remove": func(t *rapid.T) {
				for _, n := range slices.Sorted(maps.Keys(want)) {
					if rapid.IntRange(0, 3).Draw(t, "keep") > 0 {
						delete(want, n)
						if !l.Remove(n) || l.Remove(n) {
							t.Fatalf("item %d is not removed once", n)
						}
					}
				}
			},
			"": func(t *rapid.T) { same(t, &l, want) },
		})
	})
}

func ends(m map[int64]int64) (first, last int64) {
	numbers := slices.Sorted(maps.Keys(m))
	return numbers[0], numbers[len(numbers)-1]
}

func same(t *rapid.T, l *sparse.List[int64], want map[int64]int64) {
	numbers := slices.Sorted(maps.Keys(want))
	i := 0
	for n, item := range l.All {
		if i == len(numbers) || numbers[i] != n || *item != want[n] {
			t.Fatalf("item %d is %d at %d", i, *item, n)
		}
		i++
	}
	if i != len(numbers) || l.Len() != i {
		t.Fatalf("there are %d items and it says %d, not %d", i, l.Len(), len(numbers))
	}
	for _, n := range append(numbers, -10_000, 0, 1, 255, 256, 10_000) {
		at, found := slices.BinarySearch(numbers, n)
		if item := l.Get(n); (item != nil) != found || found && *item != want[n] {
			t.Fatalf("item %d is %v", n, item)
		}
		if l.Before(n) != int64(at) {
			t.Fatalf("%d items are before %d, not %d", l.Before(n), n, at)
		}
		next, item := l.From(n)
		if (item != nil) != (at < len(numbers)) || item != nil && next != numbers[at] {
			t.Fatalf("from %d on the first is %d", n, next)
		}
		if found {
			at++
		}
		last, item := l.UpTo(n)
		if (item != nil) != (at > 0) || item != nil && last != numbers[at-1] {
			t.Fatalf("up to %d the last is %d", n, last)
		}
	}
}
