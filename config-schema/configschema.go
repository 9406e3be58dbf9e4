// SPDX-License-Identifier: Apache-2.0

// Package configschema is the contract with the people who write a cloud-config
// for a Skerry machine: one Go type a noun, and a strict parser that reports
// every problem of a file at once, each with its line, column and path.
//
// The package is pure. It does no input or output, imports nothing of Skerry,
// and must stay usable by editors, CI jobs and other programs that only want to
// know whether a file is right.
//
// The doc comments of the exported fields are written for the users of the
// file, not of the package: schema.json is generated from them.
package configschema

import _ "embed"

//go:generate go run ./generate -o schema.json -reference ../docs/reference/cloud-config.md -k3s ../docs/reference/k3s-keys.md

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of the cloud-config.
func Schema() []byte { return schemaJSON }
