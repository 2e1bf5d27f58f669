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
	left := 0
	for _, c := range []struct {
		ended []int
		limit int
	}{{[]int{1400, 7, 2300, 2499}, 2}, {[]int{3, 1399, 2498}, 1}, {[]int{1, 2, 2500}, 100}, {nil, 100}} {
		for _, n := range c.ended {
			f.End(fmt.Sprint("gpu-", n), park.Dropped, "")
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
		f.Pass(time.Hour)
		left += len(c.ended)
		n, err := s.PruneTasks(t.Context(), f.Now(), c.limit)
		if err != nil || n != min(c.limit, left) {
			t.Fatalf("%d of %d were pruned, at most %d: %v", n, left, c.limit, err)
		}
		left -= n
	}
}
