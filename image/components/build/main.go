// SPDX-License-Identifier: Apache-2.0

// Build makes what the OS image ships but does not link: containerd and its
// shim, the CNI plugins, and the container images of the packaged components.
//
//	go run ./image/components/build -out build/components
//
// writes bin/, crictl/ and cni/ (static programs), and images/ (one OCI layout tar for
// each image, and SET, the hash of them all). Each step is kept in a cache
// under a hash of all that goes into it, so that a second run only compares.
// It needs the Go tool, dpkg-deb and mmdebstrap, and no privileges.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/image/components/versions"
)

// defaultEpoch stamps files when SOURCE_DATE_EPOCH is not set: a fixed date
// is as good as any, the time of the build is not.
const defaultEpoch = 1767225600 // 2026-01-01T00:00:00Z

// builder is what every step needs to know.
type builder struct {
	source   string       // top of the source tree
	out      string       // where results go
	cache    string       // where steps keep their results
	versions versions.Set // image/versions.env
	goenv    goEnv
	created  time.Time // stamp of every file in an image
	log      io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "build components:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	source := flags.String("source", ".", "top of the source tree")
	out := flags.String("out", "build/components", "directory for bin/, crictl/, cni/ and images/")
	cache := flags.String("cache", "", "directory for results of earlier runs (default ${XDG_CACHE_HOME:-~/.cache}/skerry)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := newBuilder(ctx, *source, *out, *cache, log)
	if err != nil {
		return err
	}
	return b.build(ctx)
}

func newBuilder(ctx context.Context, source, out, cache string, log io.Writer) (*builder, error) {
	b := &builder{out: out, cache: cache, log: log}
	var err error
	if b.source, err = filepath.Abs(source); err != nil {
		return nil, err
	}
	if b.cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache directory: %w", err)
		}
		b.cache = filepath.Join(base, "skerry")
	}
	if b.versions, err = versions.Read(filepath.Join(b.source, versions.File)); err != nil {
		return nil, err
	}
	if b.created, err = epoch(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return nil, err
	}
	if b.goenv, err = readGoEnv(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// build runs every step.
func (b *builder) build(ctx context.Context) error {
	start := time.Now()
	programs := map[string]string{} // name → path in the cache
	for _, c := range components {
		dir, err := b.buildComponent(ctx, c)
		if err != nil {
			return err
		}
		for _, p := range c.programs {
			programs[p.name()] = filepath.Join(dir, p.name())
		}
		if c.install != "" {
			if err := installDir(dir, filepath.Join(b.out, c.install), 0o755); err != nil {
				return err
			}
		}
	}
	debian, err := b.fetchDebian(ctx)
	if err != nil {
		return err
	}
	if err := b.writeImages(ctx, programs, debian); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "components are in %s (%.1f s)\n", b.out, time.Since(start).Seconds())
	return nil
}

// progress prints one line for a step: what it was, how it went, how long.
func (b *builder) progress(start time.Time, step, detail string) {
	fmt.Fprintf(b.log, "%-28s %-32s %6.1f s\n", step, detail, time.Since(start).Seconds())
}

func epoch(value string) (time.Time, error) {
	if value == "" {
		return time.Unix(defaultEpoch, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// output runs a command and returns what it printed; its own words are part of
// the error when it fails.
func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
