//go:build !linux

package suspend

import "time"

// suspended returns how long this machine has been suspended, if the system reports it.
func suspended() time.Duration { return 0 }
