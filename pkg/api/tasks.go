package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

func (c *call) pool() string { return c.r.PathValue("poolId") }
func (c *call) task() string { return c.r.PathValue("taskId") }

func (c *call) submit() error {
	var s park.Submission
	if err := c.decode(&s, maxBody); err != nil {
		return err
	}
	if err := c.mayRun(&s, ""); err != nil {
		return err
	}
	results, err := c.svc.Submit(c.r.Context(), c.pool(), []park.Submission{s})
	if err != nil {
		return err
	}
	if results[0].Err != nil {
		return results[0].Err
	}
	return c.ok(http.StatusAccepted, results[0].Accepted)
}

// mayRun refuses a command from someone who has not shown that the machine is his to use.
func (c *call) mayRun(s *park.Submission, at string) *park.Error {
	if len(s.Command) == 0 || c.who.trusted {
		return nil
	}
	return park.Errorf(park.Forbidden, "%s needs the daemon's own socket, or a token: over TCP anybody on this machine, and any web page, could be asking", join(at, "command"))
}

// batchAnswer holds, in the order of the batch, what each task would have been answered alone.
type batchAnswer struct {
	Results []any `json:"results"`
}

func (c *call) submitBatch() error {
	var b batch
	if err := c.decode(&b, maxBatch); err != nil {
		return err
	}
	if len(b.Tasks) == 0 || len(b.Tasks) > park.MaxBatch {
		return park.Errorf(park.InvalidRequest, "tasks must be a list of 1 to %d tasks, not %d", park.MaxBatch, len(b.Tasks))
	}
	answer := batchAnswer{make([]any, len(b.Tasks))}
	good := make([]park.Submission, 0, len(b.Tasks))
	places := make([]int, 0, len(b.Tasks))
	for i, raw := range b.Tasks {
		var s park.Submission
		if err := c.decodeOne(raw, &s, i); err != nil {
			answer.Results[i] = problemOf(err)
			continue
		}
		good, places = append(good, s), append(places, i)
	}
	results, err := c.svc.Submit(c.r.Context(), c.pool(), good)
	if err != nil {
		return err
	}
	for k, r := range results {
		if r.Err != nil {
			answer.Results[places[k]] = problemOf(r.Err)
		} else {
			answer.Results[places[k]] = r.Accepted
		}
	}
	return c.ok(http.StatusOK, answer)
}

func (c *call) decodeOne(raw []byte, s *park.Submission, i int) *park.Error {
	at := "tasks[" + strconv.Itoa(i) + "]"
	if len(raw) > maxBody {
		return park.Errorf(park.PayloadTooLarge, "%s may have %d bytes at most", at, maxBody)
	}
	if err := decode(raw, s, at); err != nil {
		e, _ := errors.AsType[*park.Error](err)
		return e
	}
	return c.mayRun(s, at)
}

func (c *call) listTasks() error {
	q := c.query()
	query := park.TaskQuery{
		Status: parsed(q, "status", park.ParseStatus), Tenant: q.text("tenant"), Limit: q.limit(), Cursor: q.text("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	page, err := c.svc.Tasks(c.r.Context(), c.pool(), query)
	if err != nil {
		return err
	}
	if page.Tasks == nil {
		page.Tasks = []park.Task{}
	}
	return c.ok(http.StatusOK, page)
}

// patient returns a context that also ends when the daemon is about to go, and whether that is why it ended.
func (c *call) patient() (ctx context.Context, over func() bool, done func()) {
	ctx, cancel := context.WithCancel(c.r.Context())
	stop := context.AfterFunc(c.api.closing, cancel)
	over = func() bool { return c.api.closing.Err() != nil && c.r.Context().Err() == nil }
	return ctx, over, func() {
		stop()
		cancel()
	}
}

func (c *call) getTask() error {
	q := c.query()
	wait := q.wait()
	if q.err != nil {
		return q.err
	}
	ctx, over, done := c.patient()
	defer done()
	t, err := c.svc.Task(ctx, c.pool(), c.task(), wait)
	if err != nil && over() {
		t, err = c.svc.Task(c.r.Context(), c.pool(), c.task(), 0)
	}
	if err != nil {
		return err
	}
	return c.ok(http.StatusOK, t)
}

func (c *call) cancelTask() error {
	t, err := c.svc.Cancel(c.r.Context(), c.pool(), c.task())
	if err != nil {
		return err
	}
	return c.ok(http.StatusOK, t)
}

func (c *call) readLog() error {
	q := c.query()
	follow := parsed(q, "follow", strconv.ParseBool)
	if q.err != nil {
		return park.Errorf(park.InvalidRequest, "follow must be true or false, not %q", q.text("follow"))
	}
	ctx, _, done := c.patient()
	defer done()
	log, err := c.svc.Log(ctx, c.pool(), c.task(), follow)
	if err != nil {
		return err
	}
	defer log.Close()
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.copyLog(log)
	return nil
}

// copyLog passes on what comes as it comes. There is nobody to tell of an error any more.
func (c *call) copyLog(log io.Reader) {
	conn := http.NewResponseController(c.w)
	c.w.WriteHeader(http.StatusOK)
	_ = conn.Flush()
	if c.r.Method == http.MethodHead {
		return
	}
	chunk := make([]byte, 32<<10)
	for {
		n, err := log.Read(chunk)
		if n > 0 {
			c.limitWrite()
			if _, broken := c.w.Write(chunk[:n]); broken != nil || conn.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
