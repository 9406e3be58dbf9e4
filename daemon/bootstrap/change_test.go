// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func encryptionFile(t *testing.T, o Options) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(o.Dir, "cred/encryption-config.json"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

func TestChange(t *testing.T) {
	c := newCluster(t)
	one, two := c.server("token", "a"), c.server("token", "b")
	for _, o := range []Options{one, two} {
		if err := Sync(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	set := func(o Options, to string) error {
		_, err := Change(t.Context(), o, []string{EncryptionConfig}, func(Contents) (Contents, error) {
			return Contents{EncryptionConfig: []byte(to)}, nil
		})
		return err
	}
	if err := set(one, "1"); err != nil {
		t.Fatal(err)
	}
	if encryptionFile(t, one) != "1" || encryptionFile(t, two) != "" {
		t.Error("it is on the wrong disks")
	}
	if found, err := Fetch(t.Context(), two, EncryptionConfig, EncryptionState); err != nil || len(found) != 1 || encryptionFile(t, two) != "1" {
		t.Errorf("fetched %v, %v", found, err)
	}
	// Another server changes it between a read and a write.
	times := 0
	_, err := Change(t.Context(), one, []string{EncryptionConfig}, func(present Contents) (Contents, error) {
		if times++; times == 1 {
			if err := set(two, "2"); err != nil {
				t.Fatal(err)
			}
		}
		return Contents{EncryptionConfig: append(present[EncryptionConfig], '+')}, nil
	})
	if err != nil || times != 2 || encryptionFile(t, one) != "2+" {
		t.Errorf("%q after %d times, %v", encryptionFile(t, one), times, err)
	}
	refused := errors.New("no")
	if _, err := Change(t.Context(), one, []string{EncryptionConfig}, func(Contents) (Contents, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	// A server takes the datastore's at its start, whatever the clocks say.
	file := filepath.Join(two.Dir, "cred/encryption-config.json")
	if err := errors.Join(os.WriteFile(file, []byte("of later"), 0o600), os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := Sync(t.Context(), two); err != nil || encryptionFile(t, two) != "2+" {
		t.Errorf("%q, %v", encryptionFile(t, two), err)
	}
	two.Password = "another"
	if err := set(two, "3"); !errors.Is(err, ErrOtherToken) {
		t.Errorf("with another token: %v", err)
	}
}

// TestTimesGrow: K3s compares them with those of disks.
func TestTimesGrow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := files{EncryptionConfig: {Timestamp: now.Add(time.Hour), Content: []byte("1")}}
	if f.replace([]string{EncryptionConfig}, Contents{EncryptionConfig: []byte("1")}, now) {
		t.Error("the same is a change")
	}
	if !f.replace([]string{EncryptionConfig}, Contents{EncryptionConfig: []byte("2")}, now) || !f[EncryptionConfig].Timestamp.After(now.Add(time.Hour)) {
		t.Errorf("at %s", f[EncryptionConfig].Timestamp)
	}
}
