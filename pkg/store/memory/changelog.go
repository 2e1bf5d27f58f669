package memory

// How many steps and touched tasks a change log keeps.
const (
	changeLogSteps = 256
	changeLogTasks = 8192
)

// changeLog remembers which tasks the latest steps of a pool touched, for engines that have fallen behind.
type changeLog struct {
	tasks     []*task // a ring buffer
	total     int64   // how many tasks were ever added
	stepStart [changeLogSteps]int64
	stepIDs   [changeLogSteps]string // the ids of the steps
	firstRev  int64                  // the first rev in the log
}

// beginStep begins the step that leads to rev.
func (j *changeLog) beginStep(rev int64, id string) {
	if j.tasks == nil {
		j.tasks = make([]*task, changeLogTasks)
		j.firstRev = rev
	}
	j.stepStart[rev%changeLogSteps], j.stepIDs[rev%changeLogSteps] = j.total, id
}

// hasStep reports whether the step that led to rev has the id.
func (j *changeLog) hasStep(rev int64, id string) bool {
	return rev > 0 && j.stepIDs[rev%changeLogSteps] == id
}

func (j *changeLog) add(t *task) {
	j.tasks[j.total%changeLogTasks] = t
	j.total++
}

// changedSince returns the tasks that were touched after rev, up to now. ok is false if the log does not reach back
// that far.
func (j *changeLog) changedSince(rev, now int64) (touched map[*task]struct{}, ok bool) {
	if rev > now || now-rev > changeLogSteps || rev+1 < j.firstRev {
		return nil, false
	}
	touched = make(map[*task]struct{})
	if rev == now {
		return touched, true
	}
	from := j.stepStart[(rev+1)%changeLogSteps]
	if j.total-from > changeLogTasks {
		return nil, false
	}
	for ; from < j.total; from++ {
		touched[j.tasks[from%changeLogTasks]] = struct{}{}
	}
	return touched, true
}
