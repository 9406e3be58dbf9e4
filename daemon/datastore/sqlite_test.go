// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/datastore/files"
)

var kills = flag.Int("kills", 10, "how many times TestKilled kills a writer")

func openStore(ctx context.Context, dir string) (*Store, *etcdkube.Client, error) {
	store, err := Open(ctx, Options{Dir: dir, Socket: filepath.Join(dir, "kine.sock"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	client, err := store.Client(ctx)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return store, client, nil
}

func mustOpen(t *testing.T, dir string) (*Store, *etcdkube.Client) {
	t.Helper()
	store, client, err := openStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return store, client
}

func content(n, size int) []byte {
	return append(fmt.Appendf(nil, "content of %d ", n), make([]byte, size)...)
}

func create(ctx context.Context, client *etcdkube.Client, n, size int) error {
	response, err := client.OptimisticPut(ctx, fmt.Sprintf("/test/%06d", n), content(n, size), 0, etcdkube.PutOptions{})
	if err == nil && !response.Succeeded {
		err = errors.New("it is there already")
	}
	return err
}

// holds checks that all of a datastore's values are as they were written, and that those are there that were acknowledged.
func holds(t *testing.T, client *etcdkube.Client, acknowledged map[int]bool, size int) {
	t.Helper()
	list, err := client.List(t.Context(), "/test/", etcdkube.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := map[int]bool{}
	for _, kv := range list.Kvs {
		n, err := strconv.Atoi(strings.TrimPrefix(string(kv.Key), "/test/"))
		if err != nil || string(kv.Value) != string(content(n, size)) {
			t.Errorf("%s has %.30q", kv.Key, kv.Value)
		}
		there[n] = true
	}
	for n := range acknowledged {
		if !there[n] {
			t.Errorf("%d was acknowledged, and is lost", n)
		}
	}
}

// TestWriter is no test: it is the process that TestKilled kills.
func TestWriter(t *testing.T) {
	dir := os.Getenv("SKERRY_TEST_WRITER")
	if dir == "" {
		t.Skip("for TestKilled")
	}
	first, err := strconv.Atoi(os.Getenv("SKERRY_TEST_FIRST"))
	if err != nil {
		t.Fatal(err)
	}
	_, client := mustOpen(t, dir)
	for n := first; ; n++ {
		if err := create(t.Context(), client, n, 1000); err != nil {
			t.Fatal(err)
		}
		fmt.Println("acknowledged", n)
	}
}

// TestKilled kills a process with SIGKILL while it writes, at random moments: whatever it had acknowledged is there, and the
// database is whole. -kills says how many times.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[int]bool{}
	next := 0
	for range *kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriter$", "-test.v")
		cmd.Env = append(os.Environ(), "SKERRY_TEST_WRITER="+dir, "SKERRY_TEST_FIRST="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		began := len(acknowledged)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			text, ok := strings.CutPrefix(scanner.Text(), "acknowledged ")
			if !ok {
				said.WriteString(scanner.Text() + "\n")
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if len(acknowledged) == began {
				time.AfterFunc(time.Duration(rand.Int64N(int64(200*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			}
			acknowledged[n] = true
		}
		if err := cmd.Wait(); len(acknowledged) == began {
			t.Fatalf("it wrote nothing: %v\n%s", err, said.String())
		}
		// One that was not answered may be there.
		next += len(acknowledged) - began + 1
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, files.Database))
	if err != nil {
		t.Fatal(err)
	}
	var found string
	if err := errors.Join(db.QueryRow("PRAGMA integrity_check").Scan(&found), db.Close()); err != nil || found != "ok" {
		t.Errorf("the database: %s, %v", found, err)
	}
	store, client := mustOpen(t, dir)
	defer store.Close()
	defer client.Close()
	holds(t, client, acknowledged, 1000)
	t.Logf("%d writes were acknowledged in %d lives", len(acknowledged), *kills)
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	store, client := mustOpen(t, dir)
	for n := range 300 {
		if err := create(t.Context(), client, n, 2000); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	store.Close()
	file := filepath.Join(dir, files.Database)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"a page":      func(b []byte) []byte { copy(b[4096*3:], make([]byte, 4096)); return b },
		"the header":  func(b []byte) []byte { copy(b, "nonsense"); return b },
		"the end":     func(b []byte) []byte { return b[:len(b)/2] },
		"the pointer": func(b []byte) []byte { b[4096+3], b[4096+4] = 0xff, 0xff; return b },
	} {
		damaged := damage(append([]byte(nil), whole...))
		dir := t.TempDir()
		file := filepath.Join(dir, files.Database)
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := openStore(t.Context(), dir)
		var refused *DamagedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != string(damaged) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
	// The file alone is the whole.
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, files.Database), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	store, client = mustOpen(t, dir)
	defer store.Close()
	defer client.Close()
	holds(t, client, map[int]bool{0: true, 299: true}, 2000)
}

// TestDiskFull fills a small file system: writes are refused, reads are answered, and once there is space again everything
// goes on, without a restart and with all that was acknowledged.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts a file system, for which it must be root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	store, client := mustOpen(t, dir)
	defer store.Close()
	defer client.Close()
	const size = 20_000
	acknowledged := map[int]bool{}
	next := 0
	write := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := next
		next++
		err := create(ctx, client, n, size)
		if err == nil {
			acknowledged[n] = true
		}
		return err
	}
	for range 20 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		t.Helper()
		file, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(file, zeros{})
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("the file system isn't full: %v", err)
		}
		file.Close()
	}
	alarms := NewAlarms(store)
	raised := func() string {
		alarms.Look(store.Status(t.Context()), time.Now())
		var reasons []string
		for _, a := range alarms.Current() {
			reasons = append(reasons, a.Reason)
		}
		return strings.Join(reasons, ", ")
	}
	for round := range 3 {
		fill()
		refused := 0
		for range 400 {
			if write() != nil {
				refused++
			}
			if refused == 5 {
				break
			}
		}
		if refused < 5 {
			t.Fatalf("round %d: a full disk takes everything", round)
		}
		// What fails is no conflict: kube-apiserver would try it again and again.
		there, err := client.Get(t.Context(), "/test/000000", etcdkube.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if response, err := client.OptimisticPut(t.Context(), "/test/000000", content(0, size), there.KV.ModRevision, etcdkube.PutOptions{GetOnFailure: true}); err == nil {
			t.Errorf("round %d: an update on a full disk: succeeded = %t", round, response.Succeeded)
		}
		holds(t, client, acknowledged, size)
		if now := raised(); now != Refusing+", "+DiskLow {
			t.Errorf("round %d: the alarms of a full disk are %q", round, now)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil {
			t.Errorf("round %d: with space again: %v", round, err)
		}
		// The whole of this disk is less than what should be left.
		if now := raised(); now != DiskLow {
			t.Errorf("round %d: with space again the alarms are %q", round, now)
		}
		holds(t, client, acknowledged, size)
	}
	client.Close()
	store.Close()
	again, client := mustOpen(t, dir)
	defer again.Close()
	defer client.Close()
	holds(t, client, acknowledged, size)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestSizeIsBounded renews leases, as a cluster does all the time, with kube-apiserver's compaction.
func TestSizeIsBounded(t *testing.T) {
	dir := t.TempDir()
	store, client := mustOpen(t, dir)
	defer store.Close()
	defer client.Close()
	const leases, rounds, size = 50, 120, 500
	revisions := make([]int64, leases)
	var half files.Size
	for round := range rounds {
		for i := range leases {
			response, err := client.OptimisticPut(t.Context(), fmt.Sprintf("/test/lease-%d", i), content(round, size), revisions[i],
				etcdkube.PutOptions{GetOnFailure: revisions[i] != 0})
			if err != nil || !response.Succeeded {
				t.Fatalf("round %d: %v", round, err)
			}
			revisions[i] = response.Revision
		}
		if round%20 == 19 {
			if _, err := client.Compact(t.Context(), revisions[0]); err != nil {
				t.Fatal(err)
			}
		}
		size, err := files.Measure(dir)
		if err != nil {
			t.Fatal(err)
		}
		if round == rounds/2 {
			half = size
		}
		if size.Log > 32<<20 || size.Database > 32<<20 {
			t.Fatalf("round %d: %+v", round, size)
		}
	}
	end, err := files.Measure(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes: %+v, halfway %+v", leases*rounds, end, half)
	// What compaction frees is used again.
	if grown := end.Database - half.Database; grown > 1<<20 {
		t.Errorf("the database grows with the writes: by %d bytes in the second half", grown)
	}
}
