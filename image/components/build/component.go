// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// component is a Go module of its own beside this directory, and the programs
// built from it. Apart from each other, because their dependencies clash.
type component struct {
	name     string    // directory under image/components
	version  string    // key in versions.env
	stamped  []string  // string variables that the linker sets to the version
	programs []program // what to build
	install  string    // folder of the output, or "" when it only goes into an image
}

// program is one main package of a component.
type program struct {
	pkg     string   // import path
	tags    []string // build tags
	version []string // arguments which make it print its version
}

func (p program) name() string {
	if strings.HasSuffix(p.pkg, "/components/coredns") {
		return "coredns"
	}
	return path.Base(p.pkg)
}

const (
	containerdModule = "github.com/containerd/containerd/v2"
	cniPlugins       = "github.com/containernetworking/plugins/plugins/"
)

// containerdTags leave out what no node of ours can use: the snapshotters that
// need a device mapper, ZFS or btrfs, and the exporter of traces. netgo and
// osusergo are what containerd's static release builds use.
var containerdTags = []string{
	"netgo", "osusergo", "static_build", "urfave_cli_no_docs", "grpcnotrace",
	"no_btrfs", "no_devmapper", "no_zfs", "no_tracing",
}

var components = []component{
	{
		name:    "metrics-server",
		version: "METRICS_SERVER_VERSION",
		stamped: []string{"k8s.io/client-go/pkg/version.gitVersion", "k8s.io/component-base/version.gitVersion"},
		programs: []program{
			{pkg: "sigs.k8s.io/metrics-server/cmd/metrics-server", version: []string{"--version"}},
		},
	},
	{
		name:    "coredns",
		version: "COREDNS_VERSION",
		programs: []program{
			{pkg: "github.com/skerry-os/skerry/image/components/coredns", tags: []string{"grpcnotrace"}, version: []string{"-version"}},
		},
	},
	{
		name:    "local-path",
		version: "LOCAL_PATH_VERSION",
		stamped: []string{"main.VERSION"},
		programs: []program{
			{pkg: "github.com/rancher/local-path-provisioner", version: []string{"--version"}},
		},
	},
	{
		name:    "containerd",
		version: "CONTAINERD_VERSION",
		stamped: []string{containerdModule + "/version.Version"},
		install: "bin",
		programs: []program{
			{pkg: containerdModule + "/cmd/containerd", tags: containerdTags, version: []string{"--version"}},
			{pkg: containerdModule + "/cmd/ctr", tags: containerdTags, version: []string{"--version"}},
			// no_grpc: the shim speaks ttrpc; there is one of it for every pod.
			{pkg: containerdModule + "/cmd/containerd-shim-runc-v2", tags: append([]string{"no_grpc"}, containerdTags...), version: []string{"-v"}},
		},
	},
	{
		name:    "crictl",
		version: "CRI_TOOLS_VERSION",
		stamped: []string{"sigs.k8s.io/cri-tools/pkg/version.Version"},
		install: "crictl",
		programs: []program{
			{pkg: "sigs.k8s.io/cri-tools/cmd/crictl", version: []string{"--version"}},
		},
	},
	{
		name:    "cni",
		version: "CNI_PLUGINS_VERSION",
		stamped: []string{"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion"},
		install: "cni",
		programs: []program{
			{pkg: cniPlugins + "main/bridge", version: []string{}},
			{pkg: cniPlugins + "main/loopback", version: []string{}},
			{pkg: cniPlugins + "ipam/host-local", version: []string{}},
			{pkg: cniPlugins + "meta/portmap", version: []string{}},
			{pkg: cniPlugins + "meta/bandwidth", version: []string{}},
			{pkg: cniPlugins + "meta/firewall", version: []string{}},
		},
	},
}

// goEnv is the part of `go env` that changes what a build produces.
type goEnv struct{ GOVERSION, GOOS, GOARCH, GOAMD64, GOARM64, GOEXPERIMENT, GOHOSTOS, GOHOSTARCH string }

func readGoEnv(ctx context.Context) (goEnv, error) {
	var env goEnv
	out, err := output(exec.CommandContext(ctx, "go", "env", "-json",
		"GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOHOSTOS", "GOHOSTARCH"))
	if err != nil {
		return env, err
	}
	if err := json.Unmarshal([]byte(out), &env); err != nil {
		return env, fmt.Errorf("read go env: %w", err)
	}
	return env, nil
}

// buildComponent returns the cache directory which holds the programs.
func (b *builder) buildComponent(ctx context.Context, c component) (string, error) {
	start := time.Now()
	version, err := b.versions.Get(c.version)
	if err != nil {
		return "", err
	}
	module := filepath.Join(b.source, "image/components", c.name)
	key := newKey("go build", b.goenv, version, fmt.Sprintf("%+v", c), goFlags(c, version))
	for _, pattern := range []string{"go.mod", "go.sum", "*.go"} {
		if err := key.addFiles(module, pattern); err != nil {
			return "", err
		}
	}
	dir, cached, err := b.step(c.name, key, func(dir string) error {
		for _, p := range c.programs {
			if err := b.goBuild(ctx, module, c, p, version, dir); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("build %s %s: %w", c.name, version, err)
	}
	detail := "built " + version
	if cached {
		detail = "unchanged " + version
	}
	b.progress(start, c.name, detail)
	return dir, nil
}

func goFlags(c component, version string) []string {
	ldflags := "-s -w"
	for _, variable := range c.stamped {
		ldflags += " -X " + variable + "=" + version
	}
	return []string{"-trimpath", "-buildvcs=false", "-ldflags", ldflags}
}

func (b *builder) goBuild(ctx context.Context, module string, c component, p program, version, dir string) error {
	start := time.Now()
	out := filepath.Join(dir, p.name())
	args := append([]string{"build"}, goFlags(c, version)...)
	args = append(args, "-tags", strings.Join(p.tags, ","), "-o", out, p.pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	// GOWORK=off: a workspace would choose other versions than the go.mod.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if _, err := output(cmd); err != nil {
		return err
	}
	if err := b.checkVersion(ctx, p, out, version); err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	b.progress(start, "  "+p.name(), fmt.Sprintf("%.1f MB", float64(info.Size())/1e6))
	return nil
}

// checkVersion runs the program and looks for its version. A renamed variable
// in -X is no error to the linker, and the program would claim to be v0.0.0.
func (b *builder) checkVersion(ctx context.Context, p program, file, version string) error {
	if b.goenv.GOOS != b.goenv.GOHOSTOS || b.goenv.GOARCH != b.goenv.GOHOSTARCH {
		return nil // cannot be run here
	}
	cmd := exec.CommandContext(ctx, file, p.version...)
	cmd.Env = []string{} // a CNI plugin without CNI_COMMAND says who it is
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", file, strings.Join(p.version, " "), err, said)
	}
	if !strings.Contains(string(said), strings.TrimPrefix(version, "v")) {
		return fmt.Errorf("%s says it is %q, want version %s", p.name(), strings.TrimSpace(string(said)), version)
	}
	return nil
}
