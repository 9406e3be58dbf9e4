// SPDX-License-Identifier: Apache-2.0

package foreground

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/notify"
)

// The test program stands for containerd and skerry: it writes down that it was
// started and told to end, and does what its part does.
func TestMain(m *testing.M) {
	diary := os.Getenv("FOREGROUND_DIARY")
	if diary == "" {
		os.Exit(m.Run())
	}
	part := os.Args[1]
	if part == "--config" {
		part = "containerd"
	}
	os.Exit(play(part, diary))
}

func note(diary, line string) {
	file, err := os.OpenFile(diary, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}

func play(part, diary string) int {
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM, unix.SIGINT)
	note(diary, "start "+part)
	if part == os.Getenv("FOREGROUND_FAILS") {
		return 7
	}
	switch part {
	case "images":
		return 0
	case "containerd":
		listener, err := net.Listen("unix", os.Getenv("FOREGROUND_SOCKET"))
		if err != nil {
			panic(err)
		}
		defer listener.Close()
	default:
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(conn, "STATUS=%s is up\nREADY=1", part)
	}
	<-told
	note(diary, "end "+part)
	return 0
}

// stage is a set of options whose programs are this test.
type stage struct {
	Options
	diary   string
	log     *lockedBuffer
	systemd *net.UnixConn // to which a Ready node is told
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func newStage(t *testing.T, role configschema.Role) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fg") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{diary: filepath.Join(dir, "diary"), log: new(lockedBuffer)}
	socket := filepath.Join(dir, "notify.sock")
	if s.systemd, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.systemd.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	notifier, err := notify.Take()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := (&configschema.Cluster{Token: "x", DataDir: "/var/other", KubeletArg: []string{"v=2"}}).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s.Options = Options{Role: role, Cluster: cluster, Notifier: notifier, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		RunDir: filepath.Join(dir, "run"), ContainerdConfig: filepath.Join(dir, "containerd.toml"), ContainerdSocket: filepath.Join(dir, "c.sock"),
		Containerd: self, Skerry: self, NodePassword: filepath.Join(dir, "node", "password"), Systemd: true}
	if err := os.WriteFile(s.ContainerdConfig, []byte("root = \"/var/lib/rancher/k3s/agent/containerd\"\nSystemdCgroup = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FOREGROUND_DIARY", s.diary)
	t.Setenv("FOREGROUND_SOCKET", s.ContainerdSocket)
	return s
}

// lines is what the parts have written down.
func (s *stage) lines(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(s.diary)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// waitReady waits until systemd is told so, and returns what else it was told.
func (s *stage) waitReady(t *testing.T) (status string) {
	t.Helper()
	if err := s.systemd.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1000)
	for {
		n, err := s.systemd.Read(buffer)
		if err != nil {
			t.Fatalf("%v; the log is\n%s", err, s.log)
		}
		text := string(buffer[:n])
		if text == "READY=1" {
			return status
		}
		status += text + "\n"
	}
}

func TestServer(t *testing.T) {
	s := newStage(t, configschema.RoleServer)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, s.Options) }()
	if status := s.waitReady(t); status != "STATUS=node is up\n" {
		t.Errorf("told %q", status)
	}
	for deadline := time.Now().Add(30 * time.Second); len(s.lines(t)) < 4; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not all were started: %q", s.lines(t))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var started, ended []string
	for _, line := range s.lines(t) {
		verb, part, _ := strings.Cut(line, " ")
		if verb == "start" {
			started = append(started, part)
		} else {
			ended = append(ended, part)
		}
	}
	if started[0] != "containerd" || len(started) != 4 { // the others beside each other
		t.Errorf("started %q", started)
	}
	if want := []string{"node", "control", "containerd"}; !slices.Equal(ended, want) {
		t.Errorf("ended %q, want %q", ended, want)
	}
	for name, has := range map[string]string{
		"run/cluster.yaml":    "token: x",
		"run/containerd.toml": "root = \"/var/other/agent/containerd\"\nSystemdCgroup = true",
		"node/password":       "",
	} {
		path := filepath.Join(filepath.Dir(s.diary), name)
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), has) || strings.Contains(string(data), "cgroupfs") {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestAgentWithoutSystemd(t *testing.T) {
	s := newStage(t, configschema.RoleAgent)
	s.Systemd = false
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, s.Options) }()
	s.waitReady(t)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if lines := s.lines(t); slices.Contains(lines, "start control") {
		t.Errorf("an agent has a control plane: %q", lines)
	}
	cluster, err := os.ReadFile(filepath.Join(s.RunDir, clusterFile))
	if err != nil {
		t.Fatal(err)
	}
	parsed, problems := configschema.ParseCluster(clusterFile, cluster)
	if len(problems) > 0 || !slices.Equal(parsed.KubeletArg, configschema.ArgList{"cgroup-driver=cgroupfs", "v=2"}) {
		t.Errorf("kubelet-arg %v, %v", parsed, problems)
	}
	if data, err := os.ReadFile(filepath.Join(s.RunDir, "containerd.toml")); err != nil || !strings.Contains(string(data), "SystemdCgroup = false") {
		t.Errorf("%s, %v", data, err)
	}
}

// TestOneEnds: when a part ends, all do, and it is said which was first.
func TestOneEnds(t *testing.T) {
	for part, want := range map[string]string{"containerd": "containerd ended: exit status 7", "control": "control ended: exit status 7", "node": "node ended: exit status 7", "images": ""} {
		t.Run(part, func(t *testing.T) {
			s := newStage(t, configschema.RoleServer)
			t.Setenv("FOREGROUND_FAILS", part)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- Run(ctx, s.Options) }()
			if part == "images" { // isn't needed
				s.waitReady(t)
				cancel()
			}
			err := <-done
			if (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("got %v, want %q", err, want)
			}
			started, ended := 0, 0
			for _, line := range s.lines(t) {
				if name, ok := strings.CutPrefix(line, "start "); ok && name != part && name != "images" {
					started++
				} else if strings.HasPrefix(line, "end ") {
					ended++
				}
			}
			if started != ended {
				t.Errorf("not all were ended: %q", s.lines(t))
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	s := newStage(t, configschema.RoleServer)
	missing := s.Options
	missing.Containerd = "/nonexistent/containerd"
	if err := Run(t.Context(), missing); err == nil || !strings.Contains(err.Error(), "comes with Skerry's image") {
		t.Errorf("without containerd: %v", err)
	}
	odd := s.Options
	odd.Systemd = false
	if err := os.WriteFile(odd.ContainerdConfig, []byte("x = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), odd); err == nil || !strings.Contains(err.Error(), "SystemdCgroup") {
		t.Errorf("a configuration that can't be changed: %v", err)
	}
	listener, err := net.Listen("unix", s.ContainerdSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := Run(t.Context(), s.Options); err == nil || !strings.Contains(err.Error(), "answers on "+s.ContainerdSocket) {
		t.Errorf("beside another one: %v", err)
	}
	if _, err := os.Stat(s.diary); err == nil {
		t.Errorf("something was started: %q", s.lines(t))
	}
}
