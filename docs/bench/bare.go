package main

// The bare server: what it costs to take a submission over HTTP and do nothing about it.

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

// child does what this program was started again for and reports whether it was.
func child(args []string) bool {
	switch {
	case len(args) == 1 && args[0] == "bare":
		bare()
	case len(args) == 2 && args[0] == "tell":
		tell(args[1])
	default:
		return false
	}
	return true
}

// submission is the fields of a submission as anyone would declare them.
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

// bare serves until it is killed.
func bare() {
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

// tell is the command whose first line is awaited: it says so over a unix socket.
func tell(socket string) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		fatal(err)
	}
	w := bufio.NewWriter(c)
	fmt.Fprintln(w, "here")
	_ = w.Flush()
	_ = c.Close()
}
