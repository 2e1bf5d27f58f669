package sqlite

// Relax has the store acknowledge what is not on the disk yet, as many programs do. It is to be called before the first
// commit.
func RelaxSync(s *Store) error {
	_, err := s.writer.queryOnce("PRAGMA synchronous = NORMAL")
	return err
}
