// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestLineHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLineHandler(&out))
	log.Debug("not for the console")
	log.Info("phase early started")
	log.With("unit", "skerry-node.service").Warn("unit ended", "restarts", 2, "error", "exit status 1")
	want := "<6>phase early started\n<4>unit ended unit=skerry-node.service restarts=2 error=\"exit status 1\"\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
