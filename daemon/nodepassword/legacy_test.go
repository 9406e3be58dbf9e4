// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func nodeNamed(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid"}}
}

func TestMigrate(t *testing.T) {
	client := fake.NewClientset(nodeNamed("agent-1"), nodeNamed("agent-2"))
	store := NewStore(client)
	file := filepath.Join(t.TempDir(), "node-passwd")
	if err := os.WriteFile(file, []byte("pw-1,Agent-1,Agent-1,\npw-2,agent-2,agent-2,\npw-3,gone,gone,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// agent-2 has registered with this server already, after it was reinstalled.
	if err := store.Ensure(t.Context(), "agent-2", "newer"); err != nil {
		t.Fatal(err)
	}
	// The API fails in the middle: the file stays, and the next attempt does the rest.
	failing := true
	client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return failing, nil, errors.New("webhook is down")
	})
	if _, err := store.Migrate(t.Context(), file); !errors.Is(err, ErrNotStored) {
		t.Errorf("Migrate() = %v, want the reason it is not done", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone before its passwords are stored: %v", err)
	}
	failing = false
	migrated, err := store.Migrate(t.Context(), file)
	if err != nil || !slices.Equal(migrated, []string{"agent-1"}) {
		t.Errorf("Migrate() = %v, %v, want agent-1", migrated, err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file with the passwords in clear is still there")
	}
	for node, password := range map[string]string{"agent-1": "pw-1", "agent-2": "newer"} {
		if err := NewStore(client).Ensure(t.Context(), node, password); err != nil {
			t.Errorf("%s: %v", node, err)
		}
	}
	if err := NewStore(client).Ensure(t.Context(), "agent-1", "other"); !errors.Is(err, ErrMismatch) {
		t.Errorf("another machine gets the name: %v", err)
	}
	if _, err := client.CoreV1().Secrets("kube-system").Get(t.Context(), SecretName("gone"), metav1.GetOptions{}); err == nil {
		t.Error("the name of a node that is gone is taken")
	}
	if migrated, err := store.Migrate(t.Context(), file); err != nil || len(migrated) != 0 {
		t.Errorf("without a file, Migrate() = %v, %v", migrated, err)
	}
}

func TestMigrateRefuses(t *testing.T) {
	store := NewStore(fake.NewClientset(nodeNamed("agent-1")))
	for _, text := range []string{"s3cret\n", "s3cret,\n", ",agent-1\n", "\"s3cret,agent-1\n"} {
		file := filepath.Join(t.TempDir(), "node-passwd")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.Migrate(t.Context(), file)
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v, want an error that names the file and not the password", text, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%q: the file is gone", text)
		}
	}
}

func TestSweep(t *testing.T) {
	now := time.Now()
	secret := func(node string, age time.Duration, kind corev1.SecretType) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: SecretName(node), Namespace: "kube-system", UID: "uid", CreationTimestamp: metav1.NewTime(now.Add(-age))},
			Type:       kind,
		}
	}
	client := fake.NewClientset(nodeNamed("there"),
		secret("there", time.Hour, SecretType), secret("coming", 9*time.Minute, SecretType),
		secret("orphan", 11*time.Minute, SecretType), secret("not-ours", time.Hour, corev1.SecretTypeOpaque))
	freed, err := NewStore(client).Sweep(t.Context(), now)
	if err != nil || !slices.Equal(freed, []string{"orphan"}) {
		t.Errorf("Sweep() = %v, %v, want orphan", freed, err)
	}
	left, err := client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 3 {
		t.Errorf("%d Secrets are left, want 3 (%v)", len(left.Items), err)
	}
	// The API is unwell: nobody is an orphan for that.
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("timeout")
	})
	if freed, err := NewStore(client).Sweep(t.Context(), now.Add(time.Hour)); err == nil || len(freed) != 0 {
		t.Errorf("Sweep() = %v, %v without an answer about the nodes", freed, err)
	}
}
