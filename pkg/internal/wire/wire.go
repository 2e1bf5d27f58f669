// Package wire writes pages of what is kept of a pool in few bytes, for a client that reads millions of them, and reads them
// again. A page is a version, the cursor of the next page, the number of its items, and the fields of each, one after the
// other: numbers as varints, times as what they differ from the one before, and names that are told again as their numbers.
package wire

import (
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ContentType is that of a page.
const ContentType = "application/vnd.parkd.kept"

// version is the first byte of a page. Another one is another order of fields.
const version = 2

// ErrPage says that something is no page, or not of this version.
var ErrPage = errors.New("it is no page of what is kept")

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

// name writes what items have in common: its number, from 1, or 0 and the text where it is new.
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

// Reader takes a page apart. Texts are parts of the page: who keeps one keeps the page.
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

// smallest is of how many bytes an item is at least, and most how many of them there is room for at once: a page may say that
// it has any number.
const (
	smallest = 8
	most     = 1 << 16
)

// Read reads a page, whose bytes belong to it from then on. It uses the items of an old page again.
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
	page.Items = slices.Grow(old[:0], int(min(n, uint64(len(r.b))/smallest, most)))
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
