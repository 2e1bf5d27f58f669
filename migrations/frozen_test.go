package migrations

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// TestReleasedMigrationsAreFrozen checks that no released migration is changed, because existing databases have already
// applied it. A change needs a new file.
func TestReleasedMigrationsAreFrozen(t *testing.T) {
	for name, want := range map[string]string{
		"postgres/00001_schema.sql": "3db54d248242af666412ee13540ec599e45ad2295f9461825094894f6b5cdb49",
		"sqlite/00001_schema.sql":   "c57fd9db842ce9cd37a30ea48e081a6399f12b350a1dbb9e93d771ab871ded54",
	} {
		b, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s was changed: put it back, and write a new migration", name)
		}
	}
}
