package client_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/loadtest/transport"
	"github.com/parkd-dev/parkd/pkg/park"
)

// inDoubt is a service whose store has not confirmed a submission.
type inDoubt struct{ park.Service }

func (inDoubt) Submit(_ context.Context, _ string, tasks []park.Submission) ([]park.SubmitResult, error) {
	results := make([]park.SubmitResult, len(tasks))
	for i := range results {
		results[i].Err = &park.Error{Code: park.OutcomeUnknown, Detail: "who knows", TaskID: "made"}
	}
	return results, nil
}

// TestOutcomeUnknown checks that the engine's answer for each task reaches the caller unchanged, alone, in a batch and
// over a Conn.
func TestOutcomeUnknown(t *testing.T) {
	a, err := api.New(api.Config{Service: inDoubt{}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a.TCP())
	defer s.Close()
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	k := c.WithTransport(transport.NewConn(t.Context()))
	for _, n := range []int{1, 3} {
		for _, submit := range []func(context.Context, string, []park.Submission) ([]park.SubmitResult, error){c.Submit, k.Submit} {
			results, err := submit(t.Context(), "p", make([]park.Submission, n))
			if err != nil || len(results) != n {
				t.Fatalf("%d tasks: %+v, %v", n, results, err)
			}
			for _, r := range results {
				if r.Err == nil || *r.Err != (park.Error{Code: park.OutcomeUnknown, Detail: "who knows", TaskID: "made"}) {
					t.Errorf("%d tasks: %+v", n, r)
				}
			}
		}
	}
}
