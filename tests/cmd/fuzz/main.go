// SPDX-License-Identifier: Apache-2.0

// Fuzz runs every fuzzer of the tree, one after the other, each for the same time.
//
//	fuzz -time 1m                 all
//	fuzz -time 5s ./config-schema those of some packages
//
// It is run from the top of the source tree. It finds the fuzzers itself, so that a new one is run without being named
// anywhere, and fails if it finds none. What a fuzzer finds, it leaves in its package's testdata/fuzz, where go test reads
// it from then on.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	each := flag.Duration("time", time.Minute, "how long each fuzzer runs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *each, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, out io.Writer, each time.Duration, packages []string) error {
	if len(packages) == 0 {
		var err error
		if packages, err = packagesWithFuzzers("."); err != nil {
			return err
		}
	}
	var failed []string
	n := 0
	for _, pkg := range packages {
		names, err := list(ctx, pkg)
		if err != nil {
			return err
		}
		for _, name := range names {
			n++
			began := time.Now()
			said, err := goTest(ctx, pkg, "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", each.String())
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed = append(failed, pkg+" "+name)
				fmt.Fprintf(out, "FAILED %s %s\n%s", pkg, name, said)
				continue
			}
			fmt.Fprintf(out, "ok     %s %s: %s (%s)\n", pkg, name, executions(said), time.Since(began).Round(time.Second))
		}
	}
	switch {
	case n == 0:
		return errors.New("no fuzzer was found: run it from the top of the source tree")
	case len(failed) > 0:
		return fmt.Errorf("%d of %d fuzzers failed: %s", len(failed), n, strings.Join(failed, ", "))
	}
	fmt.Fprintf(out, "%d fuzzers found nothing\n", n)
	return nil
}

var fuzzer = regexp.MustCompile(`(?m)^func Fuzz[A-Z]\w*\(`)

// packagesWithFuzzers looks into the files, for go test would have to compile every package to tell. Folders that are a
// module of their own are not of this one.
func packagesWithFuzzers(top string) ([]string, error) {
	var packages []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == top {
				return nil
			}
			name := d.Name()
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if err == nil || name == "testdata" || name == "build" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, filepath.Dir(path))
		if err != nil {
			return err
		}
		if pkg := "./" + filepath.ToSlash(rel); fuzzer.Match(source) && !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
		return nil
	})
	return packages, err
}

// list asks go test for the fuzzers of a package.
func list(ctx context.Context, pkg string) ([]string, error) {
	said, err := goTest(ctx, pkg, "-list", "^Fuzz")
	if err != nil {
		return nil, fmt.Errorf("list the fuzzers of %s: %w: %s", pkg, err, said)
	}
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(said)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Fuzz") {
			names = append(names, lines.Text())
		}
	}
	return names, nil
}

func goTest(ctx context.Context, pkg string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test"}, args...), pkg)...)
	cmd.WaitDelay = 10 * time.Second // the fuzzer's own workers
	return cmd.CombinedOutput()
}

var progress = regexp.MustCompile(`execs: \d+|baseline coverage: \d+/\d+`)

// executions is the last that a fuzzer has said of its progress.
func executions(said []byte) string {
	all := progress.FindAll(said, -1)
	if len(all) == 0 {
		return "it says nothing"
	}
	return string(all[len(all)-1])
}
