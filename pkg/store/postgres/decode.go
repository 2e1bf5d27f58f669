package postgres

import (
	"encoding/binary"
	"errors"
)

// reader reads a value of a composite type in the binary format of the wire, field by field: the other direction of rows.
// After an error all that it reads is nothing.
type decoder struct {
	buf []byte
	err error
}

var errBadReply = errors.New("the server's answer is not of the form that was agreed on")

func (r *decoder) fail() {
	r.err, r.buf = errBadReply, nil
}

func (r *decoder) uint32() uint32 {
	if len(r.buf) < 4 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint32(r.buf)
	r.buf = r.buf[4:]
	return v
}

// record begins a record of so many fields.
func (r *decoder) record(fields uint32) {
	if r.uint32() != fields {
		r.fail()
	}
}

// field begins a field of a record and returns its length, -1 for NULL.
func (r *decoder) field() int {
	r.uint32() // its type
	return r.length()
}

func (r *decoder) length() int {
	n := int(int32(r.uint32()))
	if n > len(r.buf) {
		r.fail()
	}
	if r.err != nil {
		return -1
	}
	return n
}

// table begins a field that is an array of two dimensions, or NULL, and returns how many rows of the given width follow.
func (r *decoder) matrix(width int) int {
	if r.field() < 0 {
		return 0
	}
	dims := r.uint32()
	r.uint32() // whether there are NULLs
	r.uint32() // the type
	n := int(r.uint32())
	r.uint32() // the index of the first row
	columns := int(r.uint32())
	r.uint32() // and of the first column
	if dims != 2 || columns != width || n > len(r.buf) {
		r.fail()
		return 0
	}
	return n
}

// take returns the next n bytes, nil for a negative n. They are the reader's own.
func (r *decoder) take(n int) []byte {
	if n < 0 {
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

func (r *decoder) bigint(v []byte) int64 {
	switch len(v) {
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	case 0:
	default:
		r.fail()
	}
	return 0
}

// text reads a field, "" for NULL, and int one that is a bigint, 0 for NULL; word and number read elements of an array.
func (r *decoder) textField() string   { return string(r.take(r.field())) }
func (r *decoder) intField() int64     { return r.bigint(r.take(r.field())) }
func (r *decoder) textElement() string { return string(r.take(r.length())) }
func (r *decoder) intElement() int64   { return r.bigint(r.take(r.length())) }
