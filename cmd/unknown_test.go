package cmd

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSubmitWithUnknownOutcome: if it is unknown whether a task was accepted, the error has its id and says what to do.
func TestSubmitWithUnknownOutcome(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"status":500,"code":"outcome_unknown","detail":"the store did not say","taskId":"render-41"}`)
	}))
	defer s.Close()
	g, _, errs := testGlobals()
	if code := g.execute(t.Context(), []string{"submit", "--server", s.URL, "--payload", "1"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	for _, part := range []string{"the store did not say", "(outcome_unknown)", "parkd status render-41", "--id render-41"} {
		if !strings.Contains(errs.String(), part) {
			t.Errorf("%q is missing from %s", part, errs)
		}
	}
	g, _, errs = testGlobals()
	_ = g.execute(t.Context(), []string{"submit", "--server", s.URL, "--payload", "1", "-o", "json"})
	var p problem
	if err := json.Unmarshal(errs.Bytes(), &p); err != nil || p.Code != "outcome_unknown" || p.TaskID != "render-41" || p.ExitCode != exitFailed {
		t.Errorf("as JSON: %s (%v)", errs, err)
	}
}
