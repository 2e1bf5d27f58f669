package sqlite

import (
	"time"
)

// watchEvery is how often the names of the database's files are looked at where nothing is written.
const watchInterval = time.Second / 2

// StorageError implements [store.HealthChecker]: it says that the database's files were deleted, moved or replaced while they were
// open. Then nothing is stored, for it would be gone after the next start.
func (s *Store) StorageError() error {
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// watch looks again and again until the store is closed.
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

// notice keeps what a look has found for Trouble, and logs where it changes.
func (s *Store) recordTrouble(err error) {
	switch before := s.trouble.Load(); {
	case err == nil && before != nil:
		s.trouble.Store(nil)
		s.writer.log.Info("the database's files are where they were", "path", s.lock.path)
	case err != nil && before == nil:
		s.trouble.Store(&err)
		s.writer.log.Error("nothing is stored", "path", s.lock.path, "error", err)
	}
}
