package sqlite

import (
	"time"
)

// watchInterval is how often the database's files are checked while nothing is written.
const watchInterval = time.Second / 2

// StorageError implements [store.HealthChecker]. It returns an error if the database's files were deleted, moved or
// replaced while they were open. Then nothing is stored, because it would be gone after the next start.
func (s *Store) StorageError() error {
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// watch checks the files again and again until the store is closed.
func (s *Store) watch() {
	defer close(s.watchDone)
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.writer.quit:
			return
		case <-tick.C:
			s.recordTrouble(s.lock.checkFiles())
		}
	}
}

// recordTrouble keeps the result of a check for StorageError, and logs a change.
func (s *Store) recordTrouble(err error) {
	switch before := s.trouble.Load(); {
	case err == nil && before != nil:
		s.trouble.Store(nil)
		s.writer.log.Info("the database's files are back in place", "path", s.lock.path)
	case err != nil && before == nil:
		s.trouble.Store(&err)
		s.writer.log.Error("nothing is stored", "path", s.lock.path, "error", err)
	}
}
