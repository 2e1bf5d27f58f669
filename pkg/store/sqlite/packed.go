package sqlite

import (
	"errors"
	"strconv"
	"strings"
)

// To take a value out of a row costs more than to read it: so who reads a whole table has SQLite put many rows into one text,
// and takes that apart. A text that has the characters which end values and rows cannot be told apart again, and who finds
// one reads the same rows one by one.

// The ends of a value and of a row.
const (
	valueEnd = "\x1f"
	rowEnd   = "\x1e"
)

// packedRows is how many events are put into one text at most.
const packedRows = 2_000

// errPacked says that a text cannot be taken apart.
var errPacked = errors.New("the rows cannot be told apart")

// packing is a statement that gets rows as one text, and how many those are. No value may be NULL, for that would be left out.
func packing(values, page string) string {
	return "SELECT count(*), coalesce(group_concat(line, x'1e'), '') FROM (SELECT concat_ws(x'1f', " + values + ") AS line" + page + ")"
}

// unpacked is a text with rows.
type unpacked struct {
	text string
	left int // rows
	bad  bool
}

// unpack begins to take a text apart.
func unpack(text string, rows, values int) (*unpacked, error) {
	if rows > 0 && (strings.Count(text, valueEnd) != rows*(values-1) || strings.Count(text, rowEnd) != rows-1) {
		return nil, errPacked
	}
	return &unpacked{text: text, left: rows}, nil
}

// next returns the next value of a row, and last the one that ends it.
func (u *unpacked) next() string { return u.upTo(valueEnd[0]) }

func (u *unpacked) last() string {
	u.left--
	return u.upTo(rowEnd[0])
}

func (u *unpacked) upTo(end byte) (v string) {
	i := strings.IndexByte(u.text, end)
	if i < 0 {
		v, u.text = u.text, ""
		return v
	}
	v, u.text = u.text[:i], u.text[i+1:]
	return v
}

func (u *unpacked) int() int64 {
	n, err := strconv.ParseInt(u.next(), 10, 64)
	u.bad = u.bad || err != nil
	return n
}

func (u *unpacked) err() error {
	if u.bad {
		return errPacked
	}
	return nil
}
