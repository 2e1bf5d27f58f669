package replay_test

import (
	"errors"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

func ended(id string, second int64) park.Task {
	return park.Task{TaskID: id, PoolID: "gpu", Tenant: "acme", MailboxKey: "box", Status: park.Completed, Attempt: 1, CompletedAt: at(second)}
}

func letter(id string) park.Message {
	return park.Message{TaskID: id, PoolID: "gpu", Status: park.Completed, Attempt: 1}
}

func TestMail(t *testing.T) {
	wrong := letter("b")
	wrong.Status = park.Failed
	late := letter("b")
	late.Attempt = 2
	other := letter("b")
	other.PoolID = "cpu"
	for name, tt := range map[string]struct {
		messages []park.Message
		offender string
	}{
		"all there":              {[]park.Message{letter("a"), letter("b"), letter("c")}, ""},
		"the oldest was removed": {[]park.Message{letter("b"), letter("c")}, ""},
		"all were removed":       {nil, ""},
		"of an unknown task":     {[]park.Message{letter("a"), letter("b"), letter("c"), letter("x")}, ""},
		"twice":                  {[]park.Message{letter("a"), letter("b"), letter("b"), letter("c")}, "b"},
		"a hole":                 {[]park.Message{letter("a"), letter("c")}, "b"},
		"the end is missing":     {[]park.Message{letter("a"), letter("b")}, "c"},
		"another end":            {[]park.Message{letter("a"), wrong, letter("c")}, "b"},
		"another attempt":        {[]park.Message{letter("a"), late, letter("c")}, "b"},
		"another pool's":         {[]park.Message{letter("a"), other, letter("c")}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			m := replay.NewMail("gpu")
			parked := ended("parked", 9)
			parked.Status = park.Queued
			for _, x := range []park.Task{ended("c", 3), parked, ended("a", 1), ended("b", 2), ended("late", 50)} {
				m.Ended(x)
			}
			boxes := m.Boxes()
			if len(boxes) != 1 || boxes[0] != (replay.Box{Tenant: "acme", Key: "box"}) {
				t.Fatalf("mailboxes %v", boxes)
			}
			err := m.Check(boxes[0], tt.messages, at(40).Time)
			o, found := errors.AsType[*replay.Offence](err)
			switch {
			case tt.offender == "" && err != nil:
				t.Error(err)
			case tt.offender != "" && (!found || o.TaskID != tt.offender || o.Rule != replay.RuleMail):
				t.Errorf("got %v, want an offence of %s", err, tt.offender)
			}
		})
	}
}
