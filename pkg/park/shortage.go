package park

// ShortageError says that a run has not begun because the machine lacks something that every run needs. It is not the
// task's fault. An executor returns it by [PutOff].
type ShortageError struct {
	Reason string // one of the Short constants
	Err    error
}

// What may be lacking.
const (
	ShortFiles     = "open_files"     // descriptors
	ShortProcesses = "processes"      // processes or threads
	ShortMemory    = "memory"         //
	ShortPorts     = "network_ports"  // local ports for connections
	ShortDisk      = "disk_full"      // room, inodes or quota
	ShortReadOnly  = "disk_read_only" //
	ShortFolder    = "state_folder"   // a folder or file of parkd's own is gone or cannot be used
	ShortLeftovers = "leftovers"      // something is left of the commands of a daemon that is gone, and has their units
	ShortOther     = "other"
)

// Error implements error.
func (e *ShortageError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *ShortageError) Unwrap() error { return e.Err }

// PutOff returns the outcome of a run that has not begun. Its task gets its units again later, first in its class, and
// the start does not count against [Retry.MaxAttempts].
func PutOff(s *ShortageError) Outcome {
	return Outcome{Status: Failed, Reason: ReasonStartDeferred, Message: s.Error(), Shortage: s}
}
