package api

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

func (c *call) pool() string { return c.r.PathValue("poolId") }

// task returns the task id in the path, or an error if no task can have it.
func (c *call) task() (string, error) {
	id := c.r.PathValue("taskId")
	if valid := c.caller.tenant == "" && park.StoredTaskID(id) || park.ValidTaskID(id); !valid {
		return "", park.Errorf(park.TaskNotFound, "no such task: %q", quote(id))
	}
	return id, nil
}

func (c *call) submit() error {
	var s park.Submission
	if err := c.decode(&s); err != nil {
		return err
	}
	if err := c.checkCommand(&s, ""); err != nil {
		return err
	}
	results, err := c.svc.Submit(c.r.Context(), c.pool(), []park.Submission{s})
	if err != nil {
		return err
	}
	if results[0].Err != nil {
		return results[0].Err
	}
	c.write(http.StatusAccepted, "application/json", &results[0].Accepted)
	return nil
}

// checkCommand refuses a command unless the caller has shown that it may run programs on this machine.
func (c *call) checkCommand(s *park.Submission, at string) *park.Error {
	if len(s.Command) == 0 || c.caller.trusted {
		return nil
	}
	return park.Errorf(park.Forbidden, "%scommand is not allowed over TCP without a token: any local process could send it; use the daemon's socket or a token", at)
}

// batchAnswer has, in the order of the batch, the answer that each task would have got alone.
type batchAnswer struct {
	Results []any `json:"results"`
}

func (c *call) submitBatch() error {
	body := c.api.buffer()
	defer c.api.release(body)
	var b batch
	if err := c.decodeIn(body, &b); err != nil {
		return err
	}
	if len(b.Tasks) == 0 {
		return park.Errorf(park.InvalidRequest, "tasks is required: a list of 1 to %d tasks", park.MaxBatch)
	}
	answer := batchAnswer{make([]any, len(b.Tasks))}
	valid := make([]park.Submission, 0, len(b.Tasks))
	indexes := make([]int, 0, len(b.Tasks))
	for i, raw := range b.Tasks {
		var s park.Submission
		if err := c.decodeOne(raw, &s, i); err != nil {
			answer.Results[i] = problemOf(err)
			continue
		}
		valid, indexes = append(valid, s), append(indexes, i)
	}
	results, err := c.svc.Submit(c.r.Context(), c.pool(), valid)
	if err != nil {
		return err
	}
	for k := range results {
		if r := &results[k]; r.Err != nil {
			answer.Results[indexes[k]] = problemOf(r.Err)
		} else {
			answer.Results[indexes[k]] = &r.Accepted
		}
	}
	return c.ok(answer)
}

func (c *call) decodeOne(raw []byte, s *park.Submission, i int) *park.Error {
	at := "tasks[" + strconv.Itoa(i) + "]"
	if most := c.api.cfg.Limits.MaxBody; int64(len(raw)) > most {
		return park.Errorf(park.PayloadTooLarge, "%s must not be larger than %d bytes", at, most)
	}
	if err := c.api.fields.read(raw, s, at); err != nil {
		return err
	}
	return c.checkCommand(s, at+".")
}

func (c *call) listTasks() error {
	q := c.queryParams()
	query := park.TaskQuery{
		Status: parseParam(q, "status", park.ParseStatus), Tenant: q.Get("tenant"), Limit: q.limit(), Cursor: q.Get("cursor"),
	}
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.svc.Tasks(c.r.Context(), c.pool(), query)
	if err != nil {
		return err
	}
	if page.Tasks == nil {
		page.Tasks = []park.Task{}
	}
	return c.ok(page)
}

func (c *call) getTask() error {
	q := c.queryParams()
	wait := q.wait()
	if err := q.err(); err != nil {
		return err
	}
	id, err := c.task()
	if err != nil {
		return err
	}
	ctx, closing, done, err := c.waitContext(wait)
	if err != nil {
		return err
	}
	defer done()
	t, err := c.svc.Task(ctx, c.pool(), id, wait)
	if err != nil && closing() {
		t, err = c.svc.Task(c.r.Context(), c.pool(), id, 0)
	}
	if err != nil {
		return err
	}
	return c.ok(t)
}

func (c *call) cancelTask() error {
	id, err := c.task()
	if err != nil {
		return err
	}
	t, err := c.svc.Cancel(c.r.Context(), c.pool(), id)
	if err != nil {
		return err
	}
	return c.ok(t)
}

func (c *call) readLog() error {
	q := c.queryParams()
	query := park.LogQuery{Follow: q.boolean("follow"), Attempt: int(q.number("attempt", 1)), Offset: q.number("offset", 0)}
	if err := q.err(); err != nil {
		return err
	}
	id, err := c.task()
	if err != nil {
		return err
	}
	if err := c.acquire(&c.budgets.logs); err != nil {
		return err
	}
	ctx, _, done := c.closingContext()
	defer done()
	log, err := c.svc.Log(ctx, c.pool(), id, query)
	if err != nil {
		return err
	}
	defer log.Close()
	h := c.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set(logAttempt, strconv.Itoa(log.Attempt))
	h.Set(logOffset, strconv.FormatInt(log.Offset, 10))
	c.writeHeader(http.StatusOK)
	if c.r.Method != http.MethodHead {
		c.copyLog(log)
	}
	return nil
}

// copyLog forwards a log as it comes. If the log breaks off, the answer breaks off too, also when the daemon stops.
// Otherwise a client could not distinguish it from a complete log.
func (c *call) copyLog(log io.Reader) {
	conn := http.NewResponseController(c.w)
	_ = conn.Flush()
	chunk := make([]byte, 32<<10)
	for {
		n, err := log.Read(chunk)
		// This is needed before the end too, which net/http writes.
		c.limitWrite()
		if n > 0 {
			if _, broken := c.w.Write(chunk[:n]); broken != nil || conn.Flush() != nil {
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), c.r.Context().Err() != nil:
			return
		case c.api.closing.Err() != nil:
			panic(http.ErrAbortHandler)
		default:
			c.api.cfg.Log.Warn("log broke off", "path", c.r.URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		}
	}
}
