// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestWarningsBecomeTheStatus(t *testing.T) {
	var journal bytes.Buffer
	var status []string
	log := slog.New(statusHandler{slog.NewTextHandler(&journal, nil), func(line string) { status = append(status, line) }})
	log.Info("joined server")
	log.With("component", "join").Warn("server refused the token")
	if !reflect.DeepEqual(status, []string{"server refused the token"}) {
		t.Errorf("status was set to %q, want the warning only", status)
	}
	if got := journal.String(); !strings.Contains(got, "joined server") || strings.Contains(got, "refused") {
		t.Errorf("the journal has\n%s\nwant what is not a warning: the status is logged by whoever sets it", got)
	}
}
