package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/storetest"
)

// TestOldTasksAmongLiveOnes forgets tasks that lie far apart among many that live, before and behind the place where it
// last stopped.
func TestOldTasksAmongLiveOnes(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	f := storetest.NewFeed("gpu")
	for range 2500 {
		f.Submit(nil)
	}
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	for _, numbers := range [][]int{{7, 1400, 2300, 2499}, {3, 1399, 2498}, {1, 2, 2500}} {
		for _, n := range numbers {
			f.End(fmt.Sprint("gpu-", n), park.Dropped, "")
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
		f.Pass(time.Hour)
		left := len(numbers)
		for _, limit := range []int{1, 1, 100} {
			n, err := s.PruneTasks(t.Context(), f.Now(), limit)
			if err != nil || n != min(limit, left) {
				t.Fatalf("%d of %d were pruned, at most %d: %v", n, left, limit, err)
			}
			left -= n
		}
	}
}
