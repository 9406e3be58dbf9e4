// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/userdata"
)

const hello = "#!/bin/sh\necho hello\n"

func withScripts(t *testing.T, instance string, texts ...string) *config.Loaded {
	t.Helper()
	loaded := parse(t, "skerry: {allow-scripts: true}\n")
	loaded.Document.InstanceID = instance
	for _, text := range texts {
		loaded.Layers.Scripts = append(loaded.Layers.Scripts, userdata.Part{Name: "user-data part 1", Kind: userdata.Script, Data: []byte(text)})
	}
	return loaded
}

// TestScriptsRunOnce for an instance, and again when instance or script changed.
func TestScriptsRunOnce(t *testing.T) {
	m, system := newMachine(t)
	var log bytes.Buffer
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	for _, step := range []struct {
		instance, text string
		want           int
	}{{"i-1", hello, 1}, {"i-1", hello, 1}, {"i-2", hello, 2}, {"i-1", hello + "true\n", 3}, {"i-2", hello, 3}} {
		if err := scripts(t.Context(), m, withScripts(t, step.instance, step.text)); err != nil {
			t.Fatal(err)
		}
		if len(system.scripts) != step.want {
			t.Errorf("instance %s: ran %d scripts, want %d", step.instance, len(system.scripts), step.want)
		}
	}
	for _, want := range []string{"user-data part 1: output of /run/skerry/script", "user-data part 1 ended"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	if _, err := os.Stat(m.path(scriptFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the script is still there: %v", err)
	}
}

// TestScriptFails: it is reported, the next one runs, the machine boots, and
// nothing is tried again.
func TestScriptFails(t *testing.T) {
	m, system := newMachine(t)
	var log bytes.Buffer
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	system.command = func() error { return errors.New("exit status 3") }
	for range 2 {
		if err := scripts(t.Context(), m, withScripts(t, "i-1", hello, hello+"# 2\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(system.scripts) != 2 || !strings.Contains(log.String(), "exit status 3") {
		t.Errorf("ran %q\n%s", system.scripts, log.String())
	}
}

// TestScriptPowerCut: one that was begun is not begun again, whether the power
// was cut before it ran, or while it did.
func TestScriptPowerCut(t *testing.T) {
	m, system := newMachine(t)
	system.after = 0 // the stamp can't be written
	if err := scripts(t.Context(), m, withScripts(t, "i-1", hello)); !errors.Is(err, errPowerCut) || len(system.scripts) != 0 {
		t.Fatalf("ran %q without a stamp: %v", system.scripts, err)
	}
	system.after = -1
	ctx, cancel := context.WithCancel(t.Context())
	system.command = func() error { cancel(); return context.Canceled }
	if err := scripts(ctx, m, withScripts(t, "i-1", hello)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	var log bytes.Buffer
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := scripts(t.Context(), m, withScripts(t, "i-1", hello)); err != nil {
		t.Fatal(err)
	}
	if len(system.scripts) != 1 || !strings.Contains(log.String(), "was interrupted, and is not run again") {
		t.Errorf("ran %q\n%s", system.scripts, log.String())
	}
}
