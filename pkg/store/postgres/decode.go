package postgres

import (
	"encoding/binary"
	"errors"
)

// decoder decodes a value of a composite type in Postgres's binary format, field by field. It is the opposite of
// encoder. After an error it returns zero values.
type decoder struct {
	buf []byte
	err error
}

var errBadReply = errors.New("the server's reply has an unexpected format")

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

// record begins a record with this number of fields.
func (r *decoder) record(fields uint32) {
	if r.uint32() != fields {
		r.fail()
	}
}

// field begins a field of a record and returns its length, or -1 for NULL.
func (r *decoder) field() int {
	r.uint32() // the type
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

// matrix begins a field that is a two-dimensional array or NULL. It returns the number of rows of this width.
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
	r.uint32() // the index of the first column
	if dims != 2 || columns != width || n > len(r.buf) {
		r.fail()
		return 0
	}
	return n
}

// take returns the next n bytes, or nil for a negative n. They belong to the decoder.
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

// textField reads a text field, "" for NULL. intField reads a bigint field, 0 for NULL. textElement and intElement read
// elements of an array.
func (r *decoder) textField() string   { return string(r.take(r.field())) }
func (r *decoder) intField() int64     { return r.bigint(r.take(r.field())) }
func (r *decoder) textElement() string { return string(r.take(r.length())) }
func (r *decoder) intElement() int64   { return r.bigint(r.take(r.length())) }
