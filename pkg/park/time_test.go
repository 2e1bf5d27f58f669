package park_test

import (
	"encoding/json"
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

// TestFirstInstant: the zero Time stands for none, so the instant that it would be is not taken for one that was given.
func TestFirstInstant(t *testing.T) {
	for _, text := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0000009Z", "0001-01-01T05:00:00+05:00", "0000-12-31T19:00:00-05:00"} {
		if at, err := park.ParseTime(text); err == nil {
			t.Errorf("%s is taken for %s", text, at)
		}
		var at park.Time
		if err := json.Unmarshal([]byte(`"`+text+`"`), &at); err == nil {
			t.Errorf("%s in JSON is taken for %s", text, at)
		}
	}
	if at, err := park.ParseTime("0001-01-01T00:00:00.000001Z"); err != nil || at.IsZero() {
		t.Errorf("the instant after it: %s, %v", at, err)
	}
}
