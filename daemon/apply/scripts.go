// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/userdata"
)

// scriptFile is where a script is while it runs.
const scriptFile = "/run/skerry/script"

// scriptStamp is written before a script begins, and again when it has ended.
// Written before, it makes a script run at most once: a power cut leaves one
// that was begun, and to begin it again could do twice what must be done once.
type scriptStamp struct {
	Name    string     `json:"name"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Error is empty for a script that went well.
	Error string `json:"error,omitempty"`
}

// scripts runs the scripts of the user-data that were not begun yet on this
// instance. One that fails doesn't keep the others from running.
func scripts(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	for i := range loaded.Layers.Scripts {
		if err := m.script(ctx, loaded, &loaded.Layers.Scripts[i]); err != nil {
			return err
		}
	}
	return nil
}

// script runs a script, unless it has a stamp. Its error is that of the stamp,
// or of a boot that is being ended: without a stamp nothing is run.
func (m *Machine) script(ctx context.Context, loaded *config.Loaded, script *userdata.Part) error {
	// A script that was changed is another one.
	sum := sha256.Sum256(script.Data)
	file, err := m.stamp(loaded, "script-"+hex.EncodeToString(sum[:16]))
	if err != nil {
		return err
	}
	text, begun, err := m.remembered(file)
	if err != nil {
		return err
	}
	if begun {
		var stamp scriptStamp
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if stamp.Ended == nil {
			m.Log.Warn(script.Name+" was interrupted, and is not run again", "started", stamp.Started,
				"to-run-it-again", "remove "+file)
		}
		return nil
	}
	stamp := scriptStamp{Name: script.Name, Started: m.System.Now().UTC()}
	if err := m.writeStamp(file, stamp); err != nil {
		return err
	}
	m.Log.Info("running " + script.Name)
	failure := m.runScript(ctx, loaded, script)
	if ctx.Err() != nil {
		return context.Cause(ctx) // the daemon ends; the stamp says that the script didn't
	}
	ended := m.System.Now().UTC()
	stamp.Ended = &ended
	if failure != nil {
		stamp.Error = failure.Error()
		m.Log.Error(script.Name+" failed, and is not run again", "error", failure, "to-run-it-again", "remove "+file)
	} else {
		m.Log.Info(script.Name+" ended", "took", ended.Sub(stamp.Started).Round(time.Millisecond))
	}
	return m.writeStamp(file, stamp)
}

func (m *Machine) runScript(ctx context.Context, loaded *config.Loaded, script *userdata.Part) (err error) {
	environment, err := m.commandEnvironment(loaded)
	if err != nil {
		return err
	}
	if err := m.write(scriptFile, script.Data, 0o700, byRoot); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.remove(scriptFile)) }()
	return m.System.Execute(ctx, configschema.Command{m.path(scriptFile)}, environment,
		func(line string) { m.Log.Info(script.Name + ": " + line) })
}

func (m *Machine) writeStamp(file string, stamp scriptStamp) error {
	data, err := json.Marshal(stamp)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return m.remember(file, string(data))
}
