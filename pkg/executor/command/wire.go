package command

// What the daemon and the shim tell each other. The job and all that follows go through one pipe, so that
// nothing of it shows in a list of processes, and the reports come back through another.

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
	controlFD = 3 + iota // the job, then messages; its end means that the daemon is dead
	reportFD
	logsFD // the folder of the task's logs
	lockFD // holds the shared lock; never used
)

// The messages after the job, told apart by their first byte.
const (
	askStop   = 't' // TERM, then KILL after the grace
	signAlive = 'k' // and eight bytes: when the node last proved alive, on the clock of bootTime

	signBytes = 9
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
	Alive        time.Duration `json:"alive,omitempty"` // when the daemon's node last proved alive, on the same clock
	LogBytes     int64         `json:"logBytes"`
	TailBytes    int           `json:"tailBytes"`
	PayloadBytes int           `json:"payloadBytes,omitempty"`

	payload []byte
}

// sentJob is a job on its way. Arguments, variables and folders are bytes, which texts of JSON need not hold.
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
	// It grows with what comes: the number may be wrong.
	if j.payload, err = io.ReadAll(io.LimitReader(r, int64(j.PayloadBytes))); err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	if len(j.payload) != j.PayloadBytes {
		return nil, fmt.Errorf("read the payload: %d of %d bytes came", len(j.payload), j.PayloadBytes)
	}
	return j, nil
}

// why says who stopped a command that did not end by itself.
type why string

const (
	notStopped        why = ""
	stoppedByDaemon   why = "daemon"
	stoppedByDeadline why = "deadline"
	stoppedByFence    why = "fence"
	stoppedByDeath    why = "death" // of the daemon: nobody reads the report
)

// report is a line from the shim: one with the command's process when it has started, and one when all is over.
type report struct {
	PID       int    `json:"pid,omitempty"`
	Over      bool   `json:"over,omitempty"`
	Error     string `json:"error,omitempty"` // the command could not be started
	Short     string `json:"short,omitempty"` // for want of this; see [park.ShortageError]
	ExitCode  int    `json:"exitCode,omitempty"`
	Signal    string `json:"signal,omitempty"`
	Why       why    `json:"why,omitempty"`
	Stdout    []byte `json:"stdout,omitempty"` // the ends of the streams
	Stderr    []byte `json:"stderr,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	LogError  string `json:"logError,omitempty"`
}

func (r *report) done() bool { return r.Over && r.Error == "" }

// maxNoise bounds what is kept of text that is no report, such as the trace of a shim that broke.
const maxNoise = 4 << 10

// readReports reads until the run is over. started is called with the command's process id. Where the shim
// died early the report is nil, and noise is what it wrote besides.
func readReports(r io.Reader, started func(pid int)) (last *report, noise string) {
	var other bytes.Buffer
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		rep := new(report)
		switch {
		case json.Unmarshal(line, rep) != nil:
			other.Write(line[:min(len(line), maxNoise-other.Len())])
		case rep.Over:
			return rep, ""
		case rep.PID > 0:
			started(rep.PID)
		}
		if err != nil {
			return nil, text(bytes.TrimSpace(other.Bytes()))
		}
	}
}

func newRunID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
