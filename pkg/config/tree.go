package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

const (
	// maxFile is far more than thousands of pools need.
	maxFile = 4 << 20
	// maxNesting is how deep a file may nest: no setting is deeper than ten.
	maxNesting = 100
)

// readTree reads a file without viper, which would fold the case of keys: pools and headers have names that must keep
// theirs.
func readTree(path string) (map[string]any, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // the byte order mark that some editors write before UTF-8
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("is not UTF-8: line %d", 1+bytes.Count(b[:firstInvalid(b)], []byte("\n")))
	}
	if err := checkNesting(b); err != nil {
		return nil, err
	}
	return parse(strings.ToLower(filepath.Ext(path)), b)
}

// readFile reads a regular file. It refuses anything else without waiting: a pipe may have no writer.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("must be a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	return b, nil
}

func firstInvalid(b []byte) int {
	i := 0
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return i
}

// checkNesting refuses a file whose brackets nest deeper than any setting. The parsers recurse for each level, and
// some have no bound. Brackets in texts count too, because no honest text has a hundred that are never closed.
func checkNesting(b []byte) error {
	depth := 0
	for i, c := range b {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > maxNesting {
			return fmt.Errorf("is nested deeper than %d levels: line %d", maxNesting, 1+bytes.Count(b[:i], []byte("\n")))
		}
	}
	return nil
}

// withoutValues removes from a parser's message what it quotes from the file, which may be a secret.
func withoutValues(err error) string {
	text := regexp.MustCompile("(?s)`.*`|'.*'|\".*\"").ReplaceAllString(err.Error(), "…")
	return regexp.MustCompile(`^(yaml|toml): `).ReplaceAllString(text, "")
}

// parse parses a file by the extension of its name, or as JSON if it does not know the extension.
func parse(ext string, b []byte) (map[string]any, error) {
	switch ext {
	case ".yaml", ".yml":
		return yamlTree(b)
	case ".toml":
		return tomlTree(b)
	}
	return jsonTree(b)
}

func yamlTree(b []byte) (map[string]any, error) {
	// If it decoded into a map directly, the parser would quote what it found instead of an object.
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("is not valid YAML: %s", withoutValues(err))
	}
	if v == nil {
		return map[string]any{}, nil
	}
	v, err := normalize(v)
	if err != nil {
		return nil, err
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("must be an object, not %s", describe(v))
	}
	return tree, nil
}

func tomlTree(b []byte) (map[string]any, error) {
	tree := map[string]any{}
	if err := toml.Unmarshal(b, &tree); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, column := at.Position()
			return nil, fmt.Errorf("is not valid TOML: line %d, column %d: %s", row, column, withoutValues(err))
		}
		return nil, fmt.Errorf("is not valid TOML: %s", withoutValues(err))
	}
	return normalizeTree(tree)
}

func normalizeTree(tree map[string]any) (map[string]any, error) {
	v, err := normalize(tree)
	if err != nil {
		return nil, err
	}
	out, _ := v.(map[string]any)
	return out, nil
}

// normalize makes the trees of all formats alike: keys and times are text.
func normalize(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if v[k], err = normalize(v[k]); err != nil {
				return nil, err
			}
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, one := range v {
			name, ok := k.(string)
			if !ok {
				return nil, fmt.Errorf("has a key that is %s, not a string; put it in quotes", describe(k))
			}
			if out[name], err = normalize(one); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		for i := range v {
			if v[i], err = normalize(v[i]); err != nil {
				return nil, err
			}
		}
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return v, nil
}

// jsonTree parses JSON in which each key is given once.
func jsonTree(b []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("is empty")
	}
	var v any
	err := jsonv2.Unmarshal(b, &v, jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(keepNumber)))
	if bad, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		line, why := 1+bytes.Count(b[:min(int(bad.ByteOffset), len(b))], []byte("\n")), withoutValues(bad.Err)
		if errors.Is(bad.Err, jsontext.ErrDuplicateName) {
			why = strings.Join(slices.Collect(bad.JSONPointer.Tokens()), ".") + " is given twice"
		}
		return nil, fmt.Errorf("is not valid JSON: line %d: %s", line, why)
	}
	if err != nil {
		return nil, fmt.Errorf("is not valid JSON: %s", withoutValues(err))
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("must be an object, not %s", describe(v))
	}
	return tree, nil
}

// keepNumber keeps a number as it is written.
func keepNumber(d *jsontext.Decoder, v *any) error {
	if d.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	raw, err := d.ReadValue()
	*v = json.Number(raw)
	return err
}
