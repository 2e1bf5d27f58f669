package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// SQLite applies whatever is in the write-ahead log beside a database and does not check that the log belongs to the
// database. After a daemon was killed the log has the newest data. If an operator then copies a backup over the
// database and leaves the log, the result is a mixture of both and not a valid database. To detect this, the database
// and the log have a mark.
//
// The mark is a number in the first page (user_version). It is in the first transaction of the log after each complete
// checkpoint, and in the last transaction before it (see checkpoint.go). So a database that belongs to a log has the
// mark before the first one of the log, or one of the log's own marks. A log without marks is from an older release.

// Offsets in the first page, which is also the file's header, and the format of the log.
const (
	headerSize      = 100
	pageSizeOffset  = 16
	markOffset      = 60
	logHeaderSize   = 32
	frameHeaderSize = 24
	logMagic        = 0x377f0682 // the lowest bit is the byte order of checksums
	logFormat       = 3007000
	minPageSize     = 512
	maxPageSize     = 65536
)

// foreignLogError says that a write-ahead log belongs to another database.
type foreignLogError string

func (e foreignLogError) Error() string {
	return fmt.Sprintf("the write-ahead log %[1]s-wal belongs to another database: a backup seems to have been copied over this one. "+
		"To use the file without the data in the log, move %[1]s-wal and %[1]s-shm away; 'parkd restore' does that by itself", string(e))
}

// checkLeftLog checks the log of a database that was not closed, and reports whether there is one. It returns a
// foreignLogError if the log belongs to another database.
func checkLeftLog(path string, db io.ReaderAt) (exists bool, err error) {
	log, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the write-ahead log: %w", err)
	}
	defer log.Close()
	header := make([]byte, headerSize)
	if n, err := db.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the database: %w", err)
	} else if n < headerSize {
		return false, nil // the file is empty, and SQLite removes the log
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

// logMarks are the properties and marks of a write-ahead log.
type logMarks struct {
	complete    bool // it has a complete transaction
	pageSize    int
	marked      bool // the first transaction has a mark
	first, last uint32
}

// readLogMarks reads the log up to the frame at which SQLite would stop.
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

// add adds the marks of the next transaction.
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

// checksum is SQLite's checksum of the log up to a frame.
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
