package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The exit codes are part of the interface for scripts.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitCancelled   = 3
	exitExpired     = 4
	exitRejected    = 5
	exitDenied      = 6
	exitNoDaemon    = 7
	exitTimedOut    = 124
	exitInterrupted = 130
)

func exitMeaning(code int) string {
	switch code {
	case exitDone:
		return "done"
	case exitFailed:
		return "failed"
	case exitUsage:
		return "invalid usage or configuration"
	case exitCancelled:
		return "the task was cancelled"
	case exitExpired:
		return "the task expired before it started"
	case exitRejected:
		return "rejected: the pool is full, draining or has no capacity, or the task has already ended or already exists"
	case exitDenied:
		return "not authorized"
	case exitNoDaemon:
		return "cannot reach a daemon"
	case exitTimedOut:
		return "the wait timed out"
	case exitInterrupted:
		return "interrupted"
	}
	return "the exit code of the task's command"
}

// cliError ends the program with an exit code. If Err is nil, nothing more is printed.
type cliError struct {
	Code int
	Name string // kind of error, for programs; "" if Err has a code of its own
	Hint string
	Err  error
}

// Error implements error.
func (e *cliError) Error() string {
	if e.Err == nil {
		return exitMeaning(e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *cliError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

func usage(err error) error {
	if _, ok := errors.AsType[*cliError](err); ok {
		return err
	}
	return &cliError{Code: exitUsage, Name: "usage", Err: err}
}

func timedOutf(format string, args ...any) error {
	return &cliError{Code: exitTimedOut, Name: "wait_timed_out", Err: fmt.Errorf(format, args...)}
}

// toCLIError assigns an exit code to any error.
func toCLIError(err error) *cliError {
	if e, ok := errors.AsType[*cliError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*park.Error](err); ok {
		return &cliError{Code: exitOf(e.Code), Hint: hintFor(e), Err: err}
	}
	if _, ok := errors.AsType[config.Faults](err); ok {
		return &cliError{Code: exitUsage, Name: "configuration", Err: err}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &cliError{Code: exitInterrupted}
	case unreachable(err):
		return &cliError{
			Code: exitNoDaemon, Name: "no_daemon", Err: err,
			Hint: "Start one with 'parkd serve', or name another one with --server or PARKD_SERVER.",
		}
	}
	return &cliError{Code: exitFailed, Name: string(park.Internal), Err: err}
}

func exitOf(c park.Code) int {
	switch status := c.HTTPStatus(); status {
	case 409:
		return exitRejected
	case 401, 403:
		return exitDenied
	case 400, 405, 413, 415:
		return exitUsage
	}
	return exitFailed
}

func hintFor(e *park.Error) string {
	switch {
	case e.Code == park.Unauthorized:
		return "Give a token with --token or PARKD_TOKEN."
	case e.Code == park.OutcomeUnknown && e.TaskID != "":
		return fmt.Sprintf("Check with 'parkd status %[1]s', or submit the same task again with --id %[1]s: it is accepted only once.", e.TaskID)
	case e.RetryAfter > 0:
		return "Try again in " + formatDuration(e.RetryAfter.Round(time.Second)) + "."
	}
	return ""
}

// unreachable reports whether err means that no daemon answered, or that the answer was cut off. Errors of files and of
// listening come from the same system calls but are not meant.
func unreachable(err error) bool {
	return errors.Is(err, client.ErrUnreachable) && !errors.Is(err, context.Canceled)
}

// problem is the JSON form of an error: the daemon's own form, and the exit code.
type problem struct {
	Title      string `json:"title"`
	Status     int    `json:"status,omitempty"`
	Detail     string `json:"detail,omitempty"`
	Code       string `json:"code"`
	ExitCode   int    `json:"exitCode"`
	RetryAfter int64  `json:"retryAfterSecs,omitempty"`
	TaskID     string `json:"taskId,omitempty"`
	Hint       string `json:"hint,omitempty"`
}

func problemOf(e *cliError) problem {
	p := problem{Title: exitMeaning(e.Code), Detail: e.Error(), Code: e.Name, ExitCode: e.Code, Hint: e.Hint}
	if fault, ok := errors.AsType[*park.Error](e.Err); ok && e.Name == "" {
		p.Title, p.Code, p.Status = fault.Code.Title(), string(fault.Code), fault.Code.HTTPStatus()
		p.RetryAfter, p.TaskID = int64(fault.RetryAfter/time.Second), fault.TaskID
	}
	return p
}

// report prints an error on standard error, and returns the exit code.
func (g *globals) report(err error) int {
	if err == nil {
		return exitDone
	}
	e := toCLIError(err)
	if e.Err == nil {
		return e.Code
	}
	if !g.output.forPeople() && g.output != asID {
		b, err := json.Marshal(problemOf(e))
		if err == nil {
			fmt.Fprintf(g.err, "%s\n", cleanJSON(b))
		}
		return e.Code
	}
	text := strings.TrimRight(clean(e.Error()), "\n")
	if fault, ok := errors.AsType[*park.Error](e.Err); ok {
		text += " (" + cleanLine(string(fault.Code)) + ")"
	}
	fmt.Fprintf(g.err, "parkd: %s\n", text)
	if e.Hint != "" {
		fmt.Fprintln(g.err, clean(e.Hint))
	}
	return e.Code
}

// taskExit returns the exit code for an ended task: that of its command if the command failed.
func taskExit(t park.Task) int {
	switch t.Status {
	case park.Completed:
		return exitDone
	case park.Dropped:
		return exitCancelled
	case park.Expired:
		return exitExpired
	case park.Failed, park.Queued, park.Running:
	}
	var result struct {
		ExitCode int `json:"exitCode"`
	}
	if t.Reason == park.ReasonExitNonzero && json.Unmarshal(t.Result, &result) == nil && result.ExitCode > 0 && result.ExitCode < 256 {
		return result.ExitCode
	}
	return exitFailed
}

// exitForTasks returns the exit code of the first task that did not complete, as an error that prints nothing.
func exitForTasks(tasks ...park.Task) error {
	for _, t := range tasks {
		if code := taskExit(t); code != exitDone {
			return &cliError{Code: code}
		}
	}
	return nil
}
