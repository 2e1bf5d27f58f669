package command

// The protocol between the daemon and the shim. The job and the messages after it go through one pipe, so that none of it
// shows in a list of processes; the reports come back through another.

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// The descriptors that the shim is started with, beside the standard ones.
const (
	controlFD = 3 + iota // the job, then messages; end of file means that the daemon is dead
	reportFD
	logsFD // the folder of the task's logs
	lockFD // only holds the shared lock
)

// The messages after the job; the first byte is their kind.
const (
	msgStop  = 't' // TERM, then KILL after the grace
	msgAlive = 'k' // and eight bytes: when the node was last known to be alive, on the clock of bootTime

	aliveBytes = 9
)

// job is one run. It is sent as a line of JSON, followed by the payload's bytes.
type job struct {
	Command      []string      `json:"command"`
	WorkDir      string        `json:"workDir,omitempty"`
	Env          []string      `json:"env"`
	Run          string        `json:"run"`
	Attempt      int           `json:"attempt"`
	Deadline     time.Duration `json:"deadline,omitempty"` // on the clock of bootTime
	Grace        time.Duration `json:"grace"`
	Fence        time.Duration `json:"fence,omitempty"`
	Alive        time.Duration `json:"alive,omitempty"` // when the daemon's node was last known to be alive, on the same clock
	LogBytes     int64         `json:"logBytes"`
	TailBytes    int           `json:"tailBytes"`
	PayloadBytes int           `json:"payloadBytes,omitempty"`

	payload []byte
}

// sentJob is the JSON form of a job. Arguments, variables and paths are bytes, because they need not be valid UTF-8.
type sentJob struct {
	*job
	Command [][]byte `json:"command"`
	WorkDir []byte   `json:"workDir,omitempty"`
	Env     [][]byte `json:"env"`
}

func asBytes(texts []string) [][]byte {
	out := make([][]byte, len(texts))
	for i, t := range texts {
		out[i] = []byte(t)
	}
	return out
}

func asTexts(all [][]byte) []string {
	out := make([]string, len(all))
	for i, b := range all {
		out[i] = string(b)
	}
	return out
}

func (j *job) encode() ([]byte, error) {
	j.PayloadBytes = len(j.payload)
	b, err := json.Marshal(sentJob{j, asBytes(j.Command), []byte(j.WorkDir), asBytes(j.Env)})
	if err != nil {
		return nil, fmt.Errorf("encode the job: %w", err)
	}
	return append(append(b, '\n'), j.payload...), nil
}

func readJob(r *bufio.Reader) (*job, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read the job: %w", err)
	}
	sent := sentJob{job: new(job)}
	if err := json.Unmarshal(line, &sent); err != nil {
		return nil, fmt.Errorf("decode the job: %w", err)
	}
	j := sent.job
	j.Command, j.WorkDir, j.Env = asTexts(sent.Command), string(sent.WorkDir), asTexts(sent.Env)
	// The buffer grows with the input: the number may be wrong.
	if j.payload, err = io.ReadAll(io.LimitReader(r, int64(j.PayloadBytes))); err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	if len(j.payload) != j.PayloadBytes {
		return nil, fmt.Errorf("read the payload: %d of %d bytes came", len(j.payload), j.PayloadBytes)
	}
	return j, nil
}

// stopReason says why a command was stopped.
type stopReason string

const (
	notStopped           stopReason = ""
	stoppedByDaemon      stopReason = "daemon"
	stoppedByDeadline    stopReason = "deadline"
	stoppedByFence       stopReason = "fence"
	stoppedByDaemonDeath stopReason = "death" // nobody reads the report
)

// report is a line from the shim. It sends one with the command's process id after the start, and one at the end.
type report struct {
	PID        int        `json:"pid,omitempty"`
	Over       bool       `json:"over,omitempty"`
	Error      string     `json:"error,omitempty"` // the command could not be started
	Shortage   string     `json:"short,omitempty"` // why; see [park.ShortageError]
	ExitCode   int        `json:"exitCode,omitempty"`
	Signal     string     `json:"signal,omitempty"`
	StopReason stopReason `json:"why,omitempty"`
	Stdout     []byte     `json:"stdout,omitempty"` // the end of the stream
	Stderr     []byte     `json:"stderr,omitempty"`
	Truncated  bool       `json:"truncated,omitempty"`
	LogError   string     `json:"logError,omitempty"`
}

func (r *report) done() bool { return r.Over && r.Error == "" }

// maxOutput bounds how much is kept of text that is no report, such as a stack trace of the shim.
const maxOutput = 4 << 10

// readReports reads until the run has ended. It calls started with the command's process id. If the shim died without a last
// report, last is nil and output is the other text it wrote.
func readReports(r io.Reader, started func(pid int)) (last *report, output string) {
	var stray bytes.Buffer
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		rep := new(report)
		switch {
		case json.Unmarshal(line, rep) != nil:
			stray.Write(line[:min(len(line), maxOutput-stray.Len())])
		case rep.Over:
			return rep, ""
		case rep.PID > 0:
			started(rep.PID)
		}
		if err != nil {
			return nil, text(bytes.TrimSpace(stray.Bytes()))
		}
	}
}

func newRunID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
