package memory

// The bounds of a journal: steps and touched tasks that it reaches back.
const (
	journalSteps = 256
	journalTasks = 8192
)

// journal remembers which tasks the latest steps of a pool touched, for engines that have fallen behind.
type journal struct {
	tasks []*task // a ring
	total int64   // how many were touched ever
	begun [journalSteps]int64
	steps [journalSteps]string // the ids of the steps
	first int64                // the earliest rev that was noted
}

// begin opens the step with the id that leads to rev.
func (j *journal) begin(rev int64, id string) {
	if j.tasks == nil {
		j.tasks = make([]*task, journalTasks)
		j.first = rev
	}
	j.begun[rev%journalSteps], j.steps[rev%journalSteps] = j.total, id
}

// knows reports whether the step that led to rev is the one with the id.
func (j *journal) knows(rev int64, id string) bool { return rev > 0 && j.steps[rev%journalSteps] == id }

func (j *journal) touch(t *task) {
	j.tasks[j.total%journalTasks] = t
	j.total++
}

// after returns the tasks that were touched after rev, up to now. ok is false where that is not known.
func (j *journal) after(rev, now int64) (touched map[*task]struct{}, ok bool) {
	if rev > now || now-rev > journalSteps || rev+1 < j.first {
		return nil, false
	}
	touched = make(map[*task]struct{})
	if rev == now {
		return touched, true
	}
	from := j.begun[(rev+1)%journalSteps]
	if j.total-from > journalTasks {
		return nil, false
	}
	for ; from < j.total; from++ {
		touched[j.tasks[from%journalTasks]] = struct{}{}
	}
	return touched, true
}
