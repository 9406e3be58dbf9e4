// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestLogHasNoValues(t *testing.T) {
	tameLog()
	var out bytes.Buffer
	logrus.SetOutput(&out)
	t.Cleanup(func() { logrus.SetOutput(logrus.New().Out) })
	put := &etcdserverpb.PutRequest{Key: []byte("/registry/secrets/default/a"), Value: []byte("a \"secret\\ and\x00 more")}
	logrus.Errorf("error in txn %s: %v", put, "no space")
	logrus.Warn(strings.Repeat("é", longestLine))
	text := out.String()
	if !strings.Contains(text, "/registry/secrets/default/a") || !strings.Contains(text, "no space") {
		t.Errorf("what is wrong isn't told: %s", text)
	}
	if strings.Contains(text, "secret\\\\") || strings.Contains(text, "more") || len(text) > 3*longestLine {
		t.Errorf("%d bytes, with the value: %s", len(text), text)
	}
}
