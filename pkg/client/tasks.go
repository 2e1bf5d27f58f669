package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Submit implements [park.TaskService].
func (c *Client) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	if len(tasks) == 1 {
		return c.submitOne(ctx, pool, &tasks[0])
	}
	var answer struct {
		Results []batchResult `json:"results"`
	}
	r := request{
		method: http.MethodPost, path: path("pools", pool) + "/tasks:batch",
		body: map[string]any{"tasks": tasks},
	}
	if err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(tasks) {
		return nil, fmt.Errorf("the daemon answered %d results for %d tasks", len(answer.Results), len(tasks))
	}
	out := make([]park.SubmitResult, len(tasks))
	for i, r := range answer.Results {
		out[i] = park.SubmitResult(r)
	}
	return out, nil
}

// submitOne submits a single task. An error of the task is its result. Any other error fails the call.
func (c *Client) submitOne(ctx context.Context, pool string, task *park.Submission) ([]park.SubmitResult, error) {
	var a park.Accepted
	r := request{method: http.MethodPost, path: path("pools", pool, "tasks"), body: task}
	err := c.call(ctx, r, &a)
	out := []park.SubmitResult{{Accepted: a}}
	if refused, ok := errors.AsType[*park.Error](err); ok && isTaskError(refused.Code) {
		out[0].Err = refused
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func isTaskError(code park.Code) bool {
	if code == park.OutcomeUnknown {
		return true
	}
	switch code.HTTPStatus() {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// batchResult is one result of a batch on the wire: a 202's body or a problem.
type batchResult park.SubmitResult

// UnmarshalJSON implements [json.Unmarshaler].
func (r *batchResult) UnmarshalJSON(b []byte) error {
	var v struct {
		park.Accepted
		// In a problem the status is a number, in a task it is a word.
		Status     json.RawMessage `json:"status"`
		Code       park.Code       `json:"code"`
		Detail     string          `json:"detail"`
		RetryAfter int64           `json:"retryAfterSecs"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Code != "" {
		r.Err = &park.Error{Code: v.Code, Detail: v.Detail, RetryAfter: retryAfter(v.RetryAfter), TaskID: v.TaskID}
		return nil
	}
	r.Accepted = v.Accepted
	return json.Unmarshal(v.Status, &r.Accepted.Status)
}

// Task implements [park.TaskService].
func (c *Client) Task(ctx context.Context, pool, id string, wait time.Duration) (park.Task, error) {
	q := url.Values{}
	setWait(q, wait)
	var t park.Task
	err := c.call(ctx, request{method: http.MethodGet, path: path("pools", pool, "tasks", id), query: q, wait: wait}, &t)
	return t, err
}

// Tasks implements [park.TaskService].
func (c *Client) Tasks(ctx context.Context, pool string, q park.TaskQuery) (park.TaskPage, error) {
	v := url.Values{}
	set(v, "status", string(q.Status))
	set(v, "tenant", q.Tenant)
	set(v, "cursor", q.Cursor)
	setLimit(v, q.Limit)
	var page park.TaskPage
	err := c.call(ctx, request{method: http.MethodGet, path: path("pools", pool, "tasks"), query: v}, &page)
	return page, err
}

// Cancel implements [park.TaskService].
func (c *Client) Cancel(ctx context.Context, pool, id string) (park.Task, error) {
	var t park.Task
	err := c.call(ctx, request{method: http.MethodDelete, path: path("pools", pool, "tasks", id), unbounded: true}, &t)
	return t, err
}

// Log implements [park.TaskService].
func (c *Client) Log(ctx context.Context, pool, id string, q park.LogQuery) (*park.Log, error) {
	v := url.Values{}
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Attempt != 0 {
		v.Set("attempt", strconv.Itoa(q.Attempt))
	}
	if q.Offset != 0 {
		v.Set("offset", strconv.FormatInt(q.Offset, 10))
	}
	//nolint:bodyclose // the reader of the log closes it
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path("pools", pool, "tasks", id, "log"), query: v})
	if err != nil {
		return nil, err
	}
	log := &park.Log{ReadCloser: logBody{resp.Body, func(err error) error { return brokenError(ctx, err) }}}
	var err1, err2 error
	log.Attempt, err1 = strconv.Atoi(resp.Header.Get("Parkd-Log-Attempt"))
	log.Offset, err2 = strconv.ParseInt(resp.Header.Get("Parkd-Log-Offset"), 10, 64)
	if err1 != nil || err2 != nil || log.Attempt < 1 || log.Offset < 0 {
		_ = log.Close()
		return nil, fmt.Errorf("%s does not say where the log begins; it may not be a parkd daemon, or an older one", resp.Request.URL.Host)
	}
	return log, nil
}

// logBody is the body of a log. It reports errors in the same form as other answers.
type logBody struct {
	io.ReadCloser
	broken func(error) error
}

// Read implements [io.Reader].
func (b logBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.broken(err)
	}
	return n, err
}
