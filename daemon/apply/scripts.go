// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/userdata"
)

const (
	// scriptsDir has a stamp for each script that was begun, on STATE.
	scriptsDir = "/state/scripts"
	// scriptFile is where a script is while it runs.
	scriptFile = "/run/skerry/script"
	// scriptPatience bounds a script: the node waits for it.
	scriptPatience = 15 * time.Minute
)

// scriptStamp is written before a script begins, and again when it has ended.
// Written before, it makes a script run at most once: a power cut leaves one
// that was begun, and to begin it again could do twice what must be done once.
type scriptStamp struct {
	Name     string     `json:"name"`
	Instance string     `json:"instance"`
	Started  time.Time  `json:"started"`
	Ended    *time.Time `json:"ended,omitempty"`
	// Error is empty for a script that went well.
	Error string `json:"error,omitempty"`
}

// scripts runs the scripts of the user-data that were not begun yet on this
// instance. One that fails doesn't keep the machine from booting.
func scripts(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	if loaded.Layers == nil {
		return nil
	}
	for i := range loaded.Layers.Scripts {
		if err := m.script(ctx, &loaded.Layers.Scripts[i], loaded.Document.InstanceID); err != nil {
			return err
		}
	}
	return nil
}

// script runs a script, unless it has a stamp. Its error is that of the stamp:
// without one, nothing is run.
func (m *Machine) script(ctx context.Context, script *userdata.Part, instance string) error {
	// A script that was changed is another one.
	sum := sha256.Sum256(append([]byte(instance+"\n"), script.Data...))
	name := filepath.Join(scriptsDir, hex.EncodeToString(sum[:])+".json")
	stamp, err := m.readStamp(name)
	if err != nil {
		return err
	}
	if stamp != nil {
		if stamp.Ended == nil {
			m.Log.Warn(script.Name+" was interrupted, and is not run again", "started", stamp.Started,
				"to-run-it-again", "remove "+name)
		}
		return nil
	}
	stamp = &scriptStamp{Name: script.Name, Instance: instance, Started: time.Now().UTC()}
	if err := m.writeStamp(name, stamp); err != nil {
		return err
	}
	m.Log.Info("running " + script.Name)
	failure := m.runScript(ctx, script)
	if ctx.Err() != nil {
		return ctx.Err() // the daemon ends; the stamp says that the script didn't
	}
	ended := time.Now().UTC()
	stamp.Ended = &ended
	if failure != nil {
		stamp.Error = failure.Error()
		m.Log.Error(script.Name+" failed, and is not run again", "error", failure, "to-run-it-again", "remove "+name)
	} else {
		m.Log.Info(script.Name+" ended", "took", ended.Sub(stamp.Started).Round(time.Millisecond))
	}
	return m.writeStamp(name, stamp)
}

func (m *Machine) runScript(ctx context.Context, script *userdata.Part) (err error) {
	if err := m.write(scriptFile, script.Data, 0o700, byRoot); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.remove(scriptFile)) }()
	ctx, cancel := context.WithTimeout(ctx, scriptPatience)
	defer cancel()
	output := &lineWriter{write: func(line string) { m.Log.Info(script.Name + ": " + line) }}
	err = m.System.RunScript(ctx, m.path(scriptFile), output)
	output.flush()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped after %v: %w", scriptPatience, err)
	}
	return err
}

func (m *Machine) readStamp(name string) (*scriptStamp, error) {
	data, err := os.ReadFile(m.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	stamp := new(scriptStamp)
	if err := json.Unmarshal(data, stamp); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return stamp, nil
}

func (m *Machine) writeStamp(name string, stamp *scriptStamp) error {
	data, err := json.MarshalIndent(stamp, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return m.write(name, append(data, '\n'), 0o600, byRoot)
}

// lineWriter passes on whole lines, and cuts one that doesn't end.
type lineWriter struct {
	line  []byte
	write func(line string)
}

const longestLine = 4 << 10

func (w *lineWriter) Write(data []byte) (int, error) {
	for _, c := range data {
		if c == '\n' || len(w.line) == longestLine {
			w.flush()
		}
		if c != '\n' {
			w.line = append(w.line, c)
		}
	}
	return len(data), nil
}

func (w *lineWriter) flush() {
	if len(w.line) > 0 {
		w.write(string(w.line))
		w.line = w.line[:0]
	}
}
