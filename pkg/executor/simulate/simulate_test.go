package simulate

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		takes   time.Duration
		status  park.Status
		reason  string
		message string // a part of it
		result  string
	}{
		"nothing":       {"", 0, park.Completed, "", "", ""},
		"null":          {`null`, 0, park.Completed, "", "", ""},
		"empty":         {`{}`, 0, park.Completed, "", "", ""},
		"time":          {`{"durationMs":50}`, 50 * time.Millisecond, park.Completed, "", "", ""},
		"part of a ms":  {`{"durationMs":0.5}`, 500 * time.Microsecond, park.Completed, "", "", ""},
		"result":        {`{"result":{"a":[1]}}`, 0, park.Completed, "", "", `{"a":[1]}`},
		"failure":       {`{"durationMs":7,"fail":true,"result":1}`, 7 * time.Millisecond, park.Failed, ReasonRequested, "says so", ""},
		"unknown field": {`{"duration":50}`, 0, park.Failed, park.ReasonExecutorError, `"duration"`, ""},
		"wrong type":    {`{"durationMs":"50"}`, 0, park.Failed, park.ReasonExecutorError, "durationMs", ""},
		"negative":      {`{"durationMs":-1}`, 0, park.Failed, park.ReasonExecutorError, "durationMs", ""},
		"too long":      {`{"durationMs":1e300}`, 0, park.Failed, park.ReasonExecutorError, "durationMs", ""},
		"not an object": {`[]`, 0, park.Failed, park.ReasonExecutorError, "payload", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				o := New().Run(t.Context(), park.Assignment{Payload: json.RawMessage(c.payload)})
				if took := time.Since(began); took != c.takes {
					t.Errorf("took %s, want %s", took, c.takes)
				}
				if o.Status != c.status || o.Reason != c.reason || !strings.Contains(o.Message, c.message) || string(o.Result) != c.result {
					t.Errorf("got %+v (%s)", o, o.Result)
				}
			})
		})
	}
}

func TestStops(t *testing.T) {
	for cause, reason := range map[error]string{
		park.ErrTimeout: park.ReasonTimeout, park.ErrCancelled: park.ReasonExecutorError, park.ErrShutdown: park.ReasonExecutorError,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			began := time.Now()
			o := New().Run(ctx, park.Assignment{Payload: json.RawMessage(`{"durationMs":60000}`)})
			if took := time.Since(began); took != time.Second || o.Status != park.Failed || o.Reason != reason {
				t.Errorf("%v: %+v after %s", cause, o, took)
			}
		})
	}
}
