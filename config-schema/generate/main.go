// SPDX-License-Identifier: Apache-2.0

// Command generate writes schema.json, the JSON Schema of the cloud-config for
// editors and CI, and the reference page, from the Go types of package
// configschema and their comments.
// The schema says what a file may look like; only the parser knows all that can
// be wrong with the values.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "schema.json", "file to write")
	page := flag.String("reference", "", "reference page to write; none when empty")
	k3s := flag.String("k3s", "", "page of K3s' keys to write; none when empty")
	source := flag.String("source", ".", "folder of the package's source")
	flag.Parse()
	data, err := schema(*source)
	if err == nil {
		err = os.WriteFile(*out, data, 0o644)
	}
	if err == nil && *page != "" {
		if data, err = reference(*source); err == nil {
			err = os.WriteFile(*page, data, 0o644)
		}
	}
	if err == nil && *k3s != "" {
		err = os.WriteFile(*k3s, k3sPage(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
