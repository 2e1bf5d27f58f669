package postgres

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// The OIDs of field types, which are the same in all servers.
const (
	boolOID  = 16
	byteaOID = 17
	int8OID  = 20
	textOID  = 25
)

// encoder encodes an array of a composite type in Postgres's binary format, which is that of the server's array_recv
// and record_recv. A step of a few hundred tasks has thousands of fields, and pgx encodes each by reflection. With
// pgx's codecs for arrays and composite types the encoding of steps takes 15 % of the processor time of engine and
// store, with this encoder 5 %. JSON takes as long as pgx. Measured by profiles of two runs each of
// go test -run xxx -bench 'EntryNodes/work=20ms/nodes=1$' -benchtime 1x -cpuprofile cpu.prof ./pkg/store/postgres.
type encoder struct {
	buf      []byte
	oid      uint32 // of the composite type
	fields   int
	n        int
	rowStart int // the offset of the current row's length
}

const (
	// arrayHeader is the length of the header before an array's first element.
	arrayHeader = 20
	// fieldSize is a field's average size with its type and length, so that the buffer seldom grows.
	fieldSize = 20
)

func newEncoder(oid uint32, fields, expected int) *encoder {
	return &encoder{oid: oid, fields: fields, buf: make([]byte, arrayHeader, arrayHeader+expected*fields*fieldSize)}
}

// nextRow begins a row. All its fields must follow.
func (r *encoder) nextRow() {
	r.endRow()
	r.n++
	r.rowStart = len(r.buf)
	r.buf = append(r.buf, 0, 0, 0, 0)
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(r.fields))
}

func (r *encoder) endRow() {
	if r.n > 0 {
		binary.BigEndian.PutUint32(r.buf[r.rowStart:], uint32(len(r.buf)-r.rowStart-4))
	}
}

// array ends the last row and returns the array.
func (r *encoder) array() []byte {
	r.endRow()
	h := r.buf[:0]
	dims := uint32(1)
	if r.n == 0 {
		dims = 0
	}
	for _, v := range []uint32{dims, 0, r.oid, uint32(r.n), 1} {
		h = binary.BigEndian.AppendUint32(h, v)
	}
	if r.n == 0 {
		return r.buf[:12]
	}
	return r.buf
}

// record returns the only row without the array around it.
func (r *encoder) record() []byte {
	return r.buf[arrayHeader+4:]
}

func (r *encoder) field(oid uint32, size int) {
	r.buf = binary.BigEndian.AppendUint32(r.buf, oid)
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(size))
}

func (r *encoder) int(n int64) {
	r.field(int8OID, 8)
	r.buf = binary.BigEndian.AppendUint64(r.buf, uint64(n))
}

func (r *encoder) bool(b bool) {
	r.field(boolOID, 1)
	if b {
		r.buf = append(r.buf, 1)
	} else {
		r.buf = append(r.buf, 0)
	}
}

func (r *encoder) text(s string) {
	s = storable(s)
	r.field(textOID, len(s))
	r.buf = append(r.buf, s...)
}

// bytes writes NULL for nil.
func (r *encoder) bytes(b []byte) {
	if b == nil {
		r.buf = binary.BigEndian.AppendUint32(r.buf, byteaOID)
		r.buf = append(r.buf, 0xff, 0xff, 0xff, 0xff)
		return
	}
	r.field(byteaOID, len(b))
	r.buf = append(r.buf, b...)
}

// storable replaces what the server's type text cannot store. The engine cleans the output of programs, see
// [park.Outcome.Tidy]. An older engine on another node does not, and delegates its outcomes to this one.
func storable(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\ufffd")
	}
	return s
}
