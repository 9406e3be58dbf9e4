// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cmdlineOf is a file with a kernel command line.
func cmdlineOf(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestGenerator: each unit a live system has otherwise is one of the image, or none.
func TestGenerator(t *testing.T) {
	dir := t.TempDir()
	if err := generate(dir, cmdlineOf(t, "roothash=00 ro")); err != nil {
		t.Fatal(err)
	}
	if made, _ := os.ReadDir(dir); len(made) > 0 {
		t.Errorf("on an installed machine: %v", made)
	}
	for range 2 { // systemd reloads
		if err := generate(dir, cmdlineOf(t, "roothash=00 ro skerry-live")); err != nil {
			t.Fatal(err)
		}
	}
	const tree = "../../image/initrd/tree"
	for _, u := range initrdUnits {
		target, err := os.Readlink(filepath.Join(dir, u.name))
		if err != nil || target != u.target {
			t.Errorf("%s leads to %q, %v", u.name, target, err)
		}
		if !strings.HasPrefix(target, liveUnits) {
			continue
		}
		if _, err := os.Stat(filepath.Join(tree, target)); err != nil {
			t.Errorf("%s: %v", u.name, err)
		}
	}
}

func TestLiveRoot(t *testing.T) {
	r, _, _ := machine(t)
	if err := liveRoot(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if exists(r.units) {
		t.Error("an installed machine got units of a live system")
	}
	r.cmdline = cmdlineOf(t, "skerry-live")
	for range 2 {
		if err := liveRoot(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range rootUnits {
		if target, err := os.Readlink(filepath.Join(r.units, u.name)); err != nil || target != u.target {
			t.Errorf("%s leads to %q, %v", u.name, target, err)
		}
		if strings.HasPrefix(u.target, liveUnits) {
			if _, err := os.Stat(filepath.Join("../../overlay", u.target)); err != nil {
				t.Errorf("%s: %v", u.name, err)
			}
		}
	}
}

// disc is a file as a CD: with a partition table for sectors of 512 bytes, or without.
func disc(t *testing.T, path string, table bool) {
	t.Helper()
	data := make([]byte, 4096)
	if table {
		copy(data[gptAt:], gptMagic)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMedium(t *testing.T) {
	dir := t.TempDir()
	rootDevice, verity := filepath.Join(dir, "root"), filepath.Join(dir, "verity")
	out := new(bytes.Buffer)
	line := "skerry-live systemd.verity_root_data=" + rootDevice + " systemd.verity_root_hash=" + verity
	m := &root{out: out, cmdline: cmdlineOf(t, line)}
	disc(t, filepath.Join(dir, "sr0"), false)
	disc(t, filepath.Join(dir, "sr1"), true)
	if err := os.WriteFile(filepath.Join(dir, "sr2"), nil, 0o600); err != nil { // a drive without a disc
		t.Fatal(err)
	}
	var attached []string
	attach := func(drive string) error {
		attached = append(attached, filepath.Base(drive))
		return errors.Join(os.WriteFile(rootDevice, nil, 0o600), os.WriteFile(verity, nil, 0o600))
	}
	images := []string{filepath.Join(dir, "skerry/medium.iso"), filepath.Join(dir, "sr*")}
	if err := m.medium(t.Context(), images, attach); err != nil || strings.Join(attached, " ") != "sr1" {
		t.Errorf("attached %v, %v", attached, err)
	}
	// The initrd has it.
	if err := errors.Join(os.Remove(rootDevice), os.Remove(filepath.Join(dir, "sr1")), os.Mkdir(filepath.Join(dir, "skerry"), 0o700)); err != nil {
		t.Fatal(err)
	}
	disc(t, filepath.Join(dir, "skerry/medium.iso"), true)
	attached = nil
	if err := m.medium(t.Context(), images, attach); err != nil || strings.Join(attached, " ") != "medium.iso" {
		t.Errorf("attached %v, %v", attached, err)
	}
	// A disk is there by itself.
	attached = nil
	if err := m.medium(t.Context(), images, attach); err != nil || attached != nil {
		t.Errorf("attached %v, %v", attached, err)
	}
	// It is never found.
	if err := os.Remove(rootDevice); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := m.medium(ctx, images, func(string) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "sr0: has another disc") || !strings.Contains(err.Error(), rootDevice) {
		t.Errorf("got %v", err)
	}
	if err := (&root{out: out, cmdline: cmdlineOf(t, "ro")}).medium(t.Context(), images, attach); err == nil {
		t.Error("an installed machine waits for a medium")
	}
}
