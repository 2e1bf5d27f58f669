package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// SQLite plays whatever lies in the write-ahead log beside a database into it, and does not ask whether the log is that
// database's. After a daemon was killed the log holds what was stored last. Whoever then copies a backup over the database
// and leaves the log has a mixture of both, which is no database. So both carry a mark.
//
// The mark is a number in the first page (user_version), which is in the log with the first transaction after each time
// that the log was folded in whole, and with the last one before (see checkpoint.go). Hence a database that belongs to a
// log has the mark before the log's first, or one of the log's own. A log without marks is one of an older release.

// The places in the first page, which is also the file's header.
const (
	headerSize      = 100
	pageSizeOffset  = 16
	markOffset      = 60
	logHeaderSize   = 32
	frameHeaderSize = 24
	logMagic        = 0x377f0682 // the lowest bit says in which order the bytes of checksums are
	logFormat       = 3007000
	minPageSize     = 512
	maxPageSize     = 65536
)

// foreignError says that a write-ahead log is of another database.
type foreignLogError string

func (e foreignLogError) Error() string {
	return fmt.Sprintf("the write-ahead log %[1]s-wal is not of this database: a backup seems to have been copied over it. To go on with the "+
		"file as it is and without what is in the log, move %[1]s-wal and %[1]s-shm away; 'parkd restore' does that by itself", string(e))
}

// belongs looks at the log that a daemon which did not close the database has left, and says whether there is one. A log
// of another database is a foreignError.
func checkLeftLog(path string, db io.ReaderAt) (exists bool, err error) {
	log, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the write-ahead log: %w", err)
	}
	defer log.Close()
	header := make([]byte, headerSize)
	if n, err := db.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("look at the database: %w", err)
	} else if n < headerSize {
		return false, nil // it is empty, and SQLite then removes the log
	}
	m, err := readLogMarks(log)
	if err != nil || !m.complete {
		return false, err
	}
	mark := binary.BigEndian.Uint32(header[markOffset:])
	size := int(binary.BigEndian.Uint16(header[pageSizeOffset:]))
	if size == 1 {
		size = maxPageSize
	}
	if size != m.pageSize || m.marked && mark != 0 && mark-(m.first-1) > m.last-(m.first-1) {
		return true, foreignLogError(path)
	}
	return true, nil
}

// marks is what a write-ahead log tells of itself.
type logMarks struct {
	complete    bool // it holds a transaction
	pageSize    int
	marked      bool // the first transaction has a mark
	first, last uint32
}

// readMarks reads a log as far as SQLite would play it.
func readLogMarks(log io.ReaderAt) (m logMarks, err error) {
	header := make([]byte, logHeaderSize)
	if _, err := log.ReadAt(header, 0); err != nil {
		return m, ignoreEOF(err)
	}
	magic := binary.BigEndian.Uint32(header)
	m.pageSize = int(binary.BigEndian.Uint32(header[8:]))
	sum := checksum{order: binary.LittleEndian}
	if magic&1 != 0 {
		sum.order = binary.BigEndian
	}
	sum.add(header[:24])
	if magic&^1 != logMagic || binary.BigEndian.Uint32(header[4:]) != logFormat || !sum.matches(header[24:]) ||
		m.pageSize < minPageSize || m.pageSize > maxPageSize {
		return logMarks{}, nil
	}
	var pending []uint32
	frame := make([]byte, frameHeaderSize+m.pageSize)
	for at := int64(logHeaderSize); ; at += int64(len(frame)) {
		if _, err := log.ReadAt(frame, at); err != nil {
			return m, ignoreEOF(err)
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeaderSize:])
		if string(frame[8:16]) != string(header[16:24]) || !sum.matches(frame[16:]) {
			return m, nil
		}
		if binary.BigEndian.Uint32(frame) == 1 {
			pending = append(pending, binary.BigEndian.Uint32(frame[frameHeaderSize+markOffset:]))
		}
		if binary.BigEndian.Uint32(frame[4:]) != 0 { // the end of a transaction
			m.add(pending)
			pending = pending[:0]
		}
	}
}

// note takes the marks of the next transaction.
func (m *logMarks) add(found []uint32) {
	if n := len(found); n > 0 && !m.complete {
		m.marked, m.first = true, found[0]
	}
	if n := len(found); n > 0 {
		m.last = found[n-1]
	}
	m.complete = true
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read the write-ahead log: %w", err)
}

// checksum is SQLite's, over all of a log so far.
type checksum struct {
	order  binary.ByteOrder
	s1, s2 uint32
}

func (c *checksum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		c.s1 += c.order.Uint32(b) + c.s2
		c.s2 += c.order.Uint32(b[4:]) + c.s1
	}
}

func (c *checksum) matches(b []byte) bool {
	return binary.BigEndian.Uint32(b) == c.s1 && binary.BigEndian.Uint32(b[4:]) == c.s2
}
