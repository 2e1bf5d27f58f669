package postgres

import (
	"encoding/binary"
	"errors"
)

// reader reads values of composite types in the binary format of the wire, field by field: the other direction of rows.
// After an error all that it reads is nothing.
type reader struct {
	buf []byte
	err error
}

var errWire = errors.New("the server's answer is not of the form that was agreed on")

func (r *reader) fail() {
	r.err, r.buf = errWire, nil
}

func (r *reader) uint32() uint32 {
	if len(r.buf) < 4 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint32(r.buf)
	r.buf = r.buf[4:]
	return v
}

// record begins a record of so many fields.
func (r *reader) record(fields uint32) {
	if r.uint32() != fields {
		r.fail()
	}
}

// field begins a field of a record and returns its length, -1 for NULL.
func (r *reader) field() int {
	r.uint32() // its type
	return r.length()
}

func (r *reader) length() int {
	n := int(int32(r.uint32()))
	if n > len(r.buf) {
		r.fail()
	}
	if r.err != nil {
		return -1
	}
	return n
}

// array begins a field that is an array and returns how many elements follow, each after its length.
func (r *reader) array() int {
	if r.field() < 0 {
		return 0
	}
	dims := r.uint32()
	r.uint32() // whether there are NULLs
	r.uint32() // the type
	if dims == 0 {
		return 0
	}
	n := r.uint32()
	r.uint32() // the index of the first
	if dims > 1 || int(n) > len(r.buf) {
		r.fail()
		return 0
	}
	return int(n)
}

// bytes reads a field, nil for NULL. It is the reader's own.
func (r *reader) bytes() []byte {
	n := r.field()
	if n < 0 {
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) bool() bool {
	v := r.bytes()
	return len(v) == 1 && v[0] == 1
}

// int reads a bigint, 0 for NULL.
func (r *reader) int() int64 {
	v := r.bytes()
	switch len(v) {
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	case 0:
	default:
		r.fail()
	}
	return 0
}
