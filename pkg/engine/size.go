package engine

import (
	"fmt"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What is stored or read at once is bounded in bytes, besides operations or rows: a store that handles a gigabyte at
// once answers nobody else meanwhile, if it accepts it at all.

// maxStepBytes bounds what a step stores for clients and executors. A single operation may be larger.
const maxStepBytes = 8 << 20

// size is the room that requests take in a step; bytes are approximate.
type size struct{ ops, bytes int }

func (s size) plus(t size) size { return size{s.ops + t.ops, s.bytes + t.bytes} }

func (p *pool) sizeOf(messages ...message) (s size) {
	for _, m := range messages {
		ops := m.base().ops
		s = s.plus(size{len(ops), p.bytesOf(ops)})
	}
	return s
}

// bytesOf returns roughly how many bytes the operations of a request store.
func (p *pool) bytesOf(ops []lot.Op) (n int) {
	for _, op := range ops {
		n += portion.RowBytes
		switch op := op.(type) {
		case lot.Submit:
			n += specSize(op.Spec)
		case lot.Finish:
			n += p.resultCopies() * (len(op.Outcome.Result) + len(op.Outcome.Message))
		}
	}
	return n
}

// resultCopies is how often a result is stored: in the task, in its message, and in the notification.
func (p *pool) resultCopies() int {
	if p.Notifier != nil {
		return 3
	}
	return 2
}

// specSize returns roughly how many bytes a submission takes in a store.
func specSize(s *ledger.Spec) int {
	n := portion.RowBytes + len(s.Payload) + len(s.WorkDir)
	for _, arg := range s.Command {
		n += quotedLen(arg)
	}
	return n
}

// quotedLen returns how many bytes a text takes in JSON at most.
func quotedLen(s string) int {
	n := 3
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf:
			n += 6
		case c == '"' || c == '\\':
			n += 2
		default:
			n++
		}
	}
	return n
}

// maxResult returns the maximum size of a result of the pool's tasks, in bytes.
func (p *pool) maxResult() int {
	if p.MaxResultBytes > 0 {
		return int(p.MaxResultBytes)
	}
	return park.DefaultMaxResult
}

// fitOutcome returns an outcome that can be stored. If the result is too large, a successful run becomes a failed one.
// A failed run loses its result and keeps its reason.
func (p *pool) fitOutcome(o park.Outcome) park.Outcome {
	o = o.Tidy()
	if n, limit := len(o.Result), p.maxResult(); n > limit {
		problem := fmt.Sprintf("the result has %d bytes, but those of pool %s may have %d (max_result_bytes): it was not kept", n, p.ID, limit)
		if o.Status == park.Completed {
			return park.Failure(park.ReasonResultTooLarge, problem)
		}
		o.Result = nil
		if o.Message != "" {
			o.Message = park.Cut(o.Message, park.MaxMessage/2) + "; "
		}
		o.Message += problem
	}
	return o
}
