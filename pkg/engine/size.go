package engine

import (
	"fmt"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What is stored or read at once has a bound in bytes, beside that in operations or rows: a store that works through a
// gigabyte answers nobody else meanwhile, if it takes it at all.

// maxStepBytes bounds what a step stores of what clients and executors bring. One operation may be larger, alone.
const maxStepBytes = 8 << 20

// size is what requests take of a step: operations, and bytes roughly.
type size struct{ ops, bytes int }

func (s size) plus(t size) size { return size{s.ops + t.ops, s.bytes + t.bytes} }

func (p *pool) sizeOf(messages ...message) (s size) {
	for _, m := range messages {
		ops := m.base().ops
		s = s.plus(size{len(ops), p.bytesOf(ops)})
	}
	return s
}

// weightOf returns how many bytes the operations of a request store, roughly.
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

// copies is how often a result is stored: in the task, in its message, and in the notification.
func (p *pool) resultCopies() int {
	if p.Notifier != nil {
		return 3
	}
	return 2
}

// weigh returns what a submission takes in a store, roughly.
func specSize(s *ledger.Spec) int {
	n := portion.RowBytes + len(s.Payload) + len(s.WorkDir)
	for _, arg := range s.Command {
		n += quotedLen(arg)
	}
	return n
}

// quotedLen returns how many bytes a text takes in JSON, at most.
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

// maxResult returns how large a result of the pool's tasks may be, in bytes.
func (p *pool) maxResult() int {
	if p.MaxResultBytes > 0 {
		return int(p.MaxResultBytes)
	}
	return park.DefaultMaxResult
}

// fit returns an outcome that can be stored. A result that is too large is the failure of a run that was otherwise a success;
// of one that failed it is left out, and the reason stays.
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
