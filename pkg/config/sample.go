package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/parkd-dev/parkd/configs"
)

// samples returns the file of each sample by name.
func samples() map[string]string {
	return map[string]string{"desktop": "desktop.json", "dev": "dev.yaml", "cloud": "cloud.toml"}
}

// SampleNames lists the samples.
func SampleNames() []string { return []string{"desktop", "dev", "cloud"} }

// Sample returns a configuration to start with, in a format: json, yaml or toml. In the format in which it was written
// it has its comments.
func Sample(name, format string) ([]byte, error) {
	file, ok := samples()[name]
	if !ok {
		return nil, fmt.Errorf("no such sample: %q; samples: %s", name, strings.Join(SampleNames(), ", "))
	}
	b, err := configs.Files.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read sample %s: %w", name, err)
	}
	if path.Ext(file) == "."+format {
		return b, nil
	}
	tree, err := parse(path.Ext(file), b)
	if err != nil {
		return nil, fmt.Errorf("read sample %s: %w", name, err)
	}
	delete(tree, "$schema")
	return encode(numbers(tree), format)
}

func encode(tree any, format string) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch format {
	case "json":
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		err = e.Encode(tree)
	case "yaml":
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		err = e.Encode(tree)
	case "toml":
		e := toml.NewEncoder(&b)
		e.SetIndentTables(true)
		err = e.Encode(tree)
	default:
		return nil, fmt.Errorf("the format must be one of json, yaml, toml, not %q", format)
	}
	if err != nil {
		return nil, fmt.Errorf("write the sample as %s: %w", format, err)
	}
	return b.Bytes(), nil
}

// numbers turns the texts in which JSON numbers were kept into numbers.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
		return slices.Clip(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	}
	return v
}
