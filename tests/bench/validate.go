// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Validate is how long `skerry config validate` takes on the machine that measures.
type Validate struct {
	Lines        int     `json:"lines"`
	Milliseconds float64 `json:"milliseconds"` // from the command to its end, the best of several
}

const (
	validateLines = 10_000
	validateRuns  = 10
	// validatePromise in milliseconds is the answer within which an editor can ask after each pause of the typing.
	validatePromise = 100
)

func measureValidate(ctx context.Context, program, dir string) (Validate, error) {
	config := longConfig(validateLines)
	path := filepath.Join(dir, "bench-user-data")
	if err := os.WriteFile(path, config, 0o644); err != nil {
		return Validate{}, err
	}
	defer os.Remove(path)
	v := Validate{Lines: bytes.Count(config, []byte("\n"))}
	for range validateRuns {
		began := time.Now()
		out, err := exec.CommandContext(ctx, program, "config", "validate", path).CombinedOutput()
		took := float64(time.Since(began)) / float64(time.Millisecond)
		if err != nil {
			return Validate{}, fmt.Errorf("%s config validate: %w: %s", program, err, bytes.TrimSpace(out))
		}
		if v.Milliseconds == 0 || took < v.Milliseconds {
			v.Milliseconds = took
		}
	}
	return v, nil
}

// longConfig is a valid cloud-config of at least so many lines: files and users, as generated ones have.
func longConfig(lines int) []byte {
	var b bytes.Buffer
	b.WriteString("#cloud-config\nusers:\n")
	n := 2
	for i := 0; n < lines/4; i++ {
		fmt.Fprintf(&b, "  - name: user%d\n    uid: %d\n    groups: [adm]\n    sudo: \"ALL=(ALL) ALL\"\n", i, 2000+i)
		n += 4
	}
	b.WriteString("write_files:\n")
	for i := 0; n < lines; i++ {
		fmt.Fprintf(&b, "  - path: /etc/app/%d.conf\n    permissions: \"0640\"\n    content: |\n      a = %d\n      b = c\n", i, i)
		n += 5
	}
	return b.Bytes()
}
