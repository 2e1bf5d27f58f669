package park_test

import (
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestTenantTaskID: no client can submit such an id, a pool can have it, and no two tenants share one.
func TestTenantTaskID(t *testing.T) {
	long := strings.Repeat("i", park.MaxIDLength)
	seen := map[string]string{}
	for _, tenant := range []string{
		"acme", "Acme", "a.b:c_d-e", strings.Repeat("t", 32), strings.Repeat("t", 33), strings.Repeat("t", park.MaxNameLength),
		"a@b", "@", "Ä", "a b", "a/b", "4813494d137e1631bba301d5acab6e7b",
	} {
		for _, id := range []string{"x", "..", long} {
			own := park.TenantTaskID(id, tenant)
			if park.ValidTaskID(own) || !park.StoredTaskID(own) || park.ShownTaskID(own) != id || len(own) > park.MaxIDLength+34 {
				t.Errorf("the task %s of %q is kept as %s", id, tenant, own)
			}
			if seen[own] != "" {
				t.Errorf("%q and %q share %s", tenant, seen[own], own)
			}
			seen[own] = tenant
		}
	}
	if own := park.TenantTaskID("x", "acme"); own != "x@acme" {
		t.Errorf("the task x of acme is kept as %s", own)
	}
	for _, id := range []string{"", "@", "@acme", "x@", "x@@", "x@a@b", "x@@@a", "x@a/b", "x/../y@a", "x@" + strings.Repeat("t", 33), long + "i@acme"} {
		if park.StoredTaskID(id) {
			t.Errorf("a pool can have a task %q", id)
		}
	}
	if !park.StoredTaskID("x") || park.ShownTaskID("x") != "x" {
		t.Error("an id as clients give it is not shown as it is")
	}
}
