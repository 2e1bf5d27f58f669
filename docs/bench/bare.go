package main

// The bare server accepts submissions over HTTP and does nothing else.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// runChild does what this program was started for as a child process, and reports whether it is one.
func runChild(args []string) bool {
	switch {
	case len(args) == 1 && args[0] == "bare":
		serveBare()
	case len(args) == 2 && args[0] == "tell":
		connectOnce(args[1])
	default:
		return false
	}
	return true
}

// submission has the fields of a submission as an ordinary server would declare them.
type submission struct {
	TaskID       string `json:"taskId"`
	Tenant       string `json:"tenant"`
	Priority     string `json:"priority"`
	ResourceCost struct {
		Kind  string `json:"kind"`
		Units int64  `json:"units"`
	} `json:"resourceCost"`
	Deadline    time.Time       `json:"deadline"`
	TimeoutSecs int64           `json:"timeoutSecs"`
	MailboxKey  string          `json:"mailboxKey"`
	Payload     json.RawMessage `json:"payload"`
	Command     []string        `json:"command"`
	CreatedAt   time.Time       `json:"createdAt"`
}

type accepted struct {
	TaskID      string    `json:"taskId"`
	PoolID      string    `json:"poolId"`
	Status      string    `json:"status"`
	SubmittedAt time.Time `json:"submittedAt"`
}

// serveBare serves until it is killed.
func serveBare() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pools/{poolId}/tasks", func(w http.ResponseWriter, r *http.Request) {
		var s submission
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(accepted{s.TaskID, r.PathValue("poolId"), string(park.Running), time.Now().UTC()})
	})
	ready := os.NewFile(3, "ready")
	fmt.Fprintf(ready, "{\"url\":\"http://%s\"}\n", l.Addr())
	ready.Close()
	fatal((&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(l))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// connectOnce is the command whose start is measured: it reports over a Unix socket that it runs.
func connectOnce(socket string) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		fatal(err)
	}
	w := bufio.NewWriter(c)
	fmt.Fprintln(w, "here")
	_ = w.Flush()
	_ = c.Close()
}
