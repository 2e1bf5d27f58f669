// Package configs holds sample configurations and the schema of all of them. They are files that can be used as
// they are; the program carries them for 'parkd config init'.
package configs

import "embed"

// Files are the samples.
//
//go:embed desktop.json dev.yaml cloud.toml
var Files embed.FS
