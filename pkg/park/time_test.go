package park_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestTimesThatCannotBeWritten are refused: a task that had one could not be shown.
func TestTimesThatCannotBeWritten(t *testing.T) {
	for _, s := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		if at, err := park.ParseTime(s); err == nil {
			t.Errorf("%s was taken as %s", s, at)
		}
	}
	if _, err := park.ParseTime("9999-12-31T23:59:59Z"); err != nil {
		t.Error(err)
	}
}
