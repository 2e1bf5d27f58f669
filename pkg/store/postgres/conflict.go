package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// changes is what pl_changes says.
type changes struct {
	Row     wireRow     `json:"row"`
	Changed []wireJob   `json:"changed"`
	Ended   [][4]string `json:"ended"` // task, tenant, mailbox key, status
	Reload  bool        `json:"reload"`
	Dead    bool        `json:"dead"`
}

type wireRow struct {
	Rev             int64          `json:"rev"`
	MaxUnits        int64          `json:"max_units"`
	MaxQueueDepth   int            `json:"max_queue_depth"`
	State           park.PoolState `json:"state"`
	Used            int64          `json:"used"`
	Queued          int            `json:"queued"`
	LastAt          int64          `json:"last_at"`
	ConfiguredUnits int64          `json:"configured_units"`
	ConfiguredDepth int            `json:"configured_depth"`
	LastStep        string         `json:"last_step"`
}

type wireJob struct {
	PoolID      string `json:"pool_id"`
	TaskID      string `json:"task_id"`
	Tenant      string `json:"tenant"`
	Status      string `json:"status"`
	Priority    int8   `json:"priority"`
	Rank        int64  `json:"rank"`
	Units       int64  `json:"units"`
	Attempt     int    `json:"attempt"`
	Strikes     int    `json:"strikes"`
	Cancelled   bool   `json:"cancelled"`
	SubmittedAt int64  `json:"submitted_at"`
	StartedAt   int64  `json:"started_at"`
	EndedAt     int64  `json:"ended_at"`
	NotBefore   int64  `json:"not_before"`
	Deadline    int64  `json:"deadline"`
	Timeout     int64  `json:"timeout"`
	LeaseTTL    int64  `json:"lease_ttl"`
	MaxAttempts int    `json:"max_attempts"`
	Backoff     int64  `json:"backoff"`
	Digest      int64  `json:"digest"`
	MailboxKey  string `json:"mailbox_key"`
	Node        string `json:"node"`
	Lease       string `json:"lease"`
	Reason      string `json:"reason"`
	Message     string `json:"message"`
}

func parseConflict(reply []byte) (*store.Conflict, error) {
	var c changes
	if err := json.Unmarshal(reply, &c); err != nil {
		return nil, fmt.Errorf("parse what another node did: %w", err)
	}
	if c.Dead {
		return nil, store.ErrDead
	}
	r := &c.Row
	out := &store.Conflict{Reload: c.Reload, Changed: make([]park.Record, len(c.Changed), len(c.Changed)+len(c.Ended)), Row: park.PoolRow{
		Rev: r.Rev, MaxUnits: r.MaxUnits, MaxQueueDepth: r.MaxQueueDepth, State: r.State, Used: r.Used, Queued: r.Queued,
		LastAt: park.FromMicro(r.LastAt), ConfiguredUnits: r.ConfiguredUnits, ConfiguredDepth: r.ConfiguredDepth, LastStep: r.LastStep,
	}}
	for i := range c.Changed {
		out.Changed[i] = c.Changed[i].record()
	}
	for _, e := range c.Ended {
		out.Changed = append(out.Changed, park.Record{
			Spec: park.Spec{TaskID: e[0], Tenant: e[1], MailboxKey: e[2]}, State: park.State{Status: park.Status(e[3])},
		})
	}
	return out, nil
}

func (j *wireJob) record() park.Record {
	return park.Record{
		Spec: park.Spec{
			PoolID: j.PoolID, TaskID: j.TaskID, Tenant: j.Tenant, MailboxKey: j.MailboxKey, Priority: park.Priority(j.Priority),
			Units: j.Units, Deadline: park.FromMicro(j.Deadline), Timeout: time.Duration(j.Timeout),
			Retry:       park.Retry{MaxAttempts: j.MaxAttempts, Backoff: park.Duration(j.Backoff)},
			SubmittedAt: park.FromMicro(j.SubmittedAt), Digest: uint64(j.Digest),
		},
		State: park.State{
			Status: park.Status(j.Status), Rank: j.Rank, Attempt: j.Attempt, Strikes: j.Strikes,
			NotBefore: park.FromMicro(j.NotBefore), Cancelled: j.Cancelled, Node: j.Node, Lease: j.Lease,
			LeaseTTL: time.Duration(j.LeaseTTL), StartedAt: park.FromMicro(j.StartedAt), EndedAt: park.FromMicro(j.EndedAt),
			Reason: j.Reason, Message: j.Message,
		},
	}
}
