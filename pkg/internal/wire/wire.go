// Package wire encodes pages of a pool's evidence in few bytes, for clients that read millions of rows, and decodes them. A
// page is a version, the cursor of the next page, the number of its items, and then the fields of each item. Numbers are
// varints, times are differences from the previous time, and a name that occurs again is written as its number.
package wire

import (
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ContentType is the content type of a page.
const ContentType = "application/vnd.parkd.kept"

// version is the first byte of a page. It changes with the order of the fields.
const version = 2

// ErrPage is returned for data that is not a page of this version.
var ErrPage = errors.New("not a page of evidence in the known format")

// Writer appends to a page.
type Writer struct {
	b     []byte
	time  int64
	names map[string]uint64
}

func (w *Writer) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *Writer) int(n int64)   { w.b = binary.AppendVarint(w.b, n) }

func (w *Writer) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// name writes a text that several items share: its number, from 1, or 0 and the text if it is new.
func (w *Writer) name(s string) {
	if n, ok := w.names[s]; ok {
		w.uint(n)
		return
	}
	w.uint(0)
	w.text(s)
	w.names[s] = uint64(len(w.names)) + 1
}

func (w *Writer) at(t park.Time) {
	us := t.Micro()
	if us == 0 {
		w.uint(0)
		return
	}
	d := us - w.time
	w.uint((uint64(d)<<1 ^ uint64(d>>63)) + 1)
	w.time = us
}

func (w *Writer) flag(b bool) {
	n := byte(0)
	if b {
		n = 1
	}
	w.b = append(w.b, n)
}

// Reader decodes a page. Texts share the memory of the page, so a text that is kept keeps the whole page.
type Reader struct {
	b     []byte
	time  int64
	names []string
	bad   bool
}

func (r *Reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := uint64(r.b[0])
		r.b = r.b[1:]
		return n
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *Reader) int() int64 {
	n := r.uint()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *Reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *Reader) text() string {
	b := r.bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (r *Reader) name() string {
	n := r.uint()
	if n == 0 {
		s := r.text()
		r.names = append(r.names, s)
		return s
	}
	if n > uint64(len(r.names)) {
		r.bad = true
		return ""
	}
	return r.names[n-1]
}

func (r *Reader) at() park.Time {
	n := r.uint()
	if n == 0 {
		return park.Time{}
	}
	n--
	r.time += int64(n>>1) ^ -int64(n&1)
	return park.FromMicro(r.time)
}

func (r *Reader) flag() bool { return r.uint() != 0 }

// Append appends a page.
func Append[T any](b []byte, page park.KeptPage[T], item func(*Writer, *T)) []byte {
	w := &Writer{b: append(b, version), names: make(map[string]uint64)}
	w.text(page.Next)
	w.uint(uint64(len(page.Items)))
	for i := range page.Items {
		item(w, &page.Items[i])
	}
	return w.b
}

// minItemBytes is the least size of an item. maxPreallocated bounds for how many items memory is allocated in advance,
// because a page may declare any number.
const (
	minItemBytes    = 8
	maxPreallocated = 1 << 16
)

// Read decodes a page, and keeps its bytes. It reuses the items of an old page.
func Read[T any](b []byte, old []T, item func(*Reader, *T)) (page park.KeptPage[T], err error) {
	if len(b) == 0 || b[0] != version {
		return page, ErrPage
	}
	r := &Reader{b: b[1:]}
	page.Next = r.text()
	n := r.uint()
	if n > uint64(len(r.b)) {
		return page, ErrPage
	}
	page.Items = slices.Grow(old[:0], int(min(n, uint64(len(r.b))/minItemBytes, maxPreallocated)))
	for range n {
		var none T
		page.Items = append(page.Items, none)
		item(r, &page.Items[len(page.Items)-1])
	}
	if r.bad || len(r.b) > 0 {
		return park.KeptPage[T]{}, ErrPage
	}
	return page, nil
}
