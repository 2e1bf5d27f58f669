package sqlite

// RelaxSync makes the store acknowledge commits that are not on the disk yet, as many programs do. It must be called
// before the first commit.
func RelaxSync(s *Store) error {
	_, err := s.writer.queryOnce("PRAGMA synchronous = NORMAL")
	return err
}
