package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

const maxFile = 16 << 20

// readTree reads a file as it stands: viper would fold the case of its keys, and pools and headers have names
// that must keep theirs.
func readTree(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("has more than %d bytes", maxFile)
	}
	return parse(strings.ToLower(filepath.Ext(path)), b)
}

// parse reads a file by the ending of its name; without one that it knows, as JSON.
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
	tree := map[string]any{}
	if err := yaml.Unmarshal(b, &tree); err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	return plainTree(tree)
}

func tomlTree(b []byte) (map[string]any, error) {
	tree := map[string]any{}
	if err := toml.Unmarshal(b, &tree); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, column := at.Position()
			return nil, fmt.Errorf("is not TOML: line %d, column %d: %w", row, column, err)
		}
		return nil, fmt.Errorf("is not TOML: %w", err)
	}
	return plainTree(tree)
}

func plainTree(tree map[string]any) (map[string]any, error) {
	v, err := plain(tree)
	if err != nil {
		return nil, err
	}
	out, _ := v.(map[string]any)
	return out, nil
}

// plain makes the trees of all formats alike: keys are text, times are text.
func plain(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if v[k], err = plain(v[k]); err != nil {
				return nil, err
			}
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, one := range v {
			name, ok := k.(string)
			if !ok {
				return nil, fmt.Errorf("has a key that is not text: %v; put it in quotes", k)
			}
			if out[name], err = plain(one); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		for i := range v {
			if v[i], err = plain(v[i]); err != nil {
				return nil, err
			}
		}
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return v, nil
}

// jsonTree reads JSON, and refuses what encoding/json lets pass: a key that stands twice, and text after the end.
func jsonTree(b []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := jsonValue(d, "")
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something after the end")
		}
	}
	if err != nil {
		line := 1 + bytes.Count(b[:min(int(d.InputOffset()), len(b))], []byte("\n"))
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return nil, fmt.Errorf("is not JSON: line %d: %w", line, err)
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("must be an object, not %s", describe(v))
	}
	return tree, nil
}

func jsonValue(d *json.Decoder, path string) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return jsonObject(d, path)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := jsonValue(d, path)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

func jsonObject(d *json.Decoder, path string) (any, error) {
	tree := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		at := strings.TrimPrefix(path+"."+key, ".")
		if _, twice := tree[key]; twice {
			return nil, fmt.Errorf("%s stands there twice", at)
		}
		if tree[key], err = jsonValue(d, at); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return tree, err
}
