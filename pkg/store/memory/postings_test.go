package memory

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestChainsAgainstMap adds items with a few texts that share hashes, and removes them in any order.
func TestChainsAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, want := audit{}, map[string][]int64{}
		a.init()
		texts := []string{"a", "b", "c", "d"}
		// a and b make one chain, and so do c and d: what is looked for goes by the first of the two.
		first := map[string]string{"a": "a", "b": "a", "c": "c", "d": "c"}
		of := func(text string) (found []int64) {
			for n := a.tasks.newestOf(first[text]); ; {
				l := a.events.Get(n)
				if l == nil {
					slices.Reverse(found)
					return found
				}
				if l.taskID == text {
					found = append(found, n)
				}
				n = l.prevSameHash
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				text := rapid.SampledFrom(texts).Draw(t, "text")
				n, l := a.events.next()
				l.taskID = text
				l.prevSameHash = a.tasks.add(first[text], n)
				want[text] = append(want[text], n)
			},
			"remove": func(t *rapid.T) {
				text := rapid.SampledFrom(texts).Draw(t, "text")
				if len(want[text]) == 0 {
					t.Skip("there is none")
				}
				i := rapid.IntRange(0, len(want[text])-1).Draw(t, "i")
				n := want[text][i]
				removeFromChain(&a.tasks, &a.events, first[text], n, func(l *storedEvent) *int64 { return &l.prevSameHash })
				a.events.Remove(n)
				want[text] = slices.Delete(want[text], i, i+1)
			},
			"": func(t *rapid.T) {
				for _, text := range texts {
					if got := of(text); !slices.Equal(got, want[text]) {
						t.Fatalf("of %s there are %v, not %v", text, got, want[text])
					}
				}
			},
		})
		for _, text := range texts {
			for _, n := range slices.Clone(want[text]) {
				removeFromChain(&a.tasks, &a.events, first[text], n, func(l *storedEvent) *int64 { return &l.prevSameHash })
				a.events.Remove(n)
			}
		}
		if len(a.tasks.newest) != 0 {
			t.Errorf("%d chains are left of nothing", len(a.tasks.newest))
		}
	})
}
