// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is a network of its own, entered by do.
type namespace struct{ fd int }

func newNamespace(t *testing.T) namespace {
	t.Helper()
	made := make(chan error, 1)
	var n namespace
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(n.fd) })
	return n
}

// do runs something inside of the namespace.
func (n namespace) do(t *testing.T, run func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- run()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// lab is a machine with the firewall, and somebody outside.
type lab struct{ inside, outside namespace }

func newLab(t *testing.T) lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network of its own")
	}
	if _, err := os.Stat(nft); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no nft on this machine: %v", err)
	}
	l := lab{newNamespace(t), newNamespace(t)}
	l.inside.do(t, func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(l.outside.fd)}
		return netlink.LinkAdd(link)
	})
	set := func(n namespace, addresses ...string) {
		n.do(t, func() error {
			for _, name := range []string{"lo", "eth0"} {
				link, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				if err := netlink.LinkSetUp(link); err != nil {
					return err
				}
				for _, text := range addresses {
					address, err := netlink.ParseAddr(text)
					if err != nil {
						return err
					}
					address.Flags = unix.IFA_F_NODAD
					if name == "lo" {
						continue
					}
					if err := netlink.AddrAdd(link, address); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	set(l.inside, "192.0.2.1/24", "2001:db8::1/64")
	set(l.outside, "192.0.2.2/24", "192.0.2.3/24", "10.42.1.1/24", "2001:db8::2/64")
	// Everything listens, so that what is closed is closed by the firewall.
	for _, port := range []int{22, 80, 81, 8080, 6443, 9100, 30080} {
		l.inside.do(t, func() error {
			listener, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
			if err == nil {
				t.Cleanup(func() { listener.Close() })
			}
			return err
		})
	}
	return l
}

func (l lab) load(t *testing.T, script []byte) {
	t.Helper()
	l.inside.do(t, func() error { return Kernel(t.Context(), script) })
}

// try says what becomes of a connection to a port from an address: open,
// rejected or dropped. The timeout only ends what is dropped.
func (l lab) try(t *testing.T, from, to string, port int) (verdict string) {
	t.Helper()
	l.outside.do(t, func() error {
		dialer := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", net.JoinHostPort(to, fmt.Sprint(port)))
		var timeout net.Error
		switch {
		case err == nil:
			verdict = "open"
			return conn.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			verdict = "rejected"
		case errors.As(err, &timeout) && timeout.Timeout():
			verdict = "dropped"
		default:
			return err
		}
		return nil
	})
	return verdict
}

const (
	machine4, outsider4, node4 = "192.0.2.1", "192.0.2.2", "192.0.2.3"
	machine6, outsider6        = "2001:db8::1", "2001:db8::2"
)

// TestKernel asks a kernel what the rules come to.
func TestKernel(t *testing.T) {
	l := newLab(t)
	peers := peersOf(node4, "10.42.1.0/24")
	for _, test := range []struct {
		name, text string
		want       string // port=verdict, from the outsider; n: from a node, p: as a pod that isn't there, 6: over IPv6
	}{
		{"nothing but what is needed", "    {}\n", "22=open 80=dropped 6443=open 30080=dropped n80=open n30080=open p80=dropped 6/22=open 6/80=dropped"},
		{"rules", "    rules: [{ports: [80, 8000-8100]}, {ports: 81, from: 192.0.2.9}]\n", "80=open 8080=open 81=dropped 6/80=open n81=open"},
		{"by family", "    rules: [{ports: 80, from: '2001:db8::/64'}, {ports: 81, from: 192.0.2.0/24}]\n", "80=dropped 81=open 6/80=open 6/81=dropped"},
		{"by interface", "    rules: [{ports: 80, interfaces: [\"eth*\"]}, {ports: 81, interfaces: [lo]}]\n", "80=open 81=dropped"},
		{"reject", "    default: reject\n    ssh: false\n", "22=rejected 80=rejected 6/80=rejected n80=open n22=rejected"},
		{"some networks", "    ssh: 192.0.2.2\n    kubernetes-api: [192.0.2.9]\n    node-ports: [192.0.2.2]\n", "22=open n22=dropped 6443=dropped n6443=open 30080=open 6/30080=dropped 6/22=dropped"},
		{"all but", "    default: accept\n    kubernetes-api: false\n    rules: [{ports: 80, action: drop}, {ports: 81, action: reject}]\n", "22=open 80=dropped 81=rejected 8080=open 6443=dropped n6443=open 30080=open p8080=open"},
		{"nodes only", "    default: accept\n    rules: [{ports: 9100, from: nodes}, {ports: 9100, action: drop}]\n", "9100=dropped n9100=open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l.load(t, Script(parse(t, test.text), machine, peers))
			for word := range strings.FieldsSeq(test.want) {
				what, want, _ := strings.Cut(word, "=")
				from, to := outsider4, machine4
				switch {
				case strings.HasPrefix(what, "n"):
					from, what = node4, what[1:]
				case strings.HasPrefix(what, "p"):
					from, what = "10.42.1.1", what[1:]
				case strings.HasPrefix(what, "6/"):
					from, to, what = outsider6, machine6, what[2:]
				}
				var port int
				if _, err := fmt.Sscan(what, &port); err != nil {
					t.Fatal(err)
				}
				if from == "10.42.1.1" && want == "open" {
					continue // there is no way back for the answer
				}
				if got := l.try(t, from, to, port); got != want {
					t.Errorf("port %d from %s is %s, want %s", port, from, got, want)
				}
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		l.load(t, Off())
		if got := l.try(t, outsider4, machine4, 80); got != "open" {
			t.Errorf("port 80 is %s", got)
		}
	})
}

// TestKernelPods: what a pod sends is let in where the way to the pod leads, and
// nowhere else.
func TestKernelPods(t *testing.T) {
	l := newLab(t)
	l.load(t, Script(parse(t, "    {}\n"), machine, peersOf("", "10.42.1.0/24")))
	route := func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_, pods, err := net.ParseCIDR("10.42.1.0/24")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: pods, Gw: net.ParseIP(node4)})
	}
	if got := l.try(t, "10.42.1.1", machine4, 80); got != "dropped" {
		t.Errorf("a pod whose node isn't known is %s", got)
	}
	l.inside.do(t, route)
	if got := l.try(t, "10.42.1.1", machine4, 80); got != "open" {
		t.Errorf("a pod of another node is %s", got)
	}
}

// TestKernelBeforeNAT: a Service is judged by its own port, not by that of the
// pod, and what it leads to isn't open for that.
func TestKernelBeforeNAT(t *testing.T) {
	l := newLab(t)
	const redirect = `table ip proxy {
	chain services {
		type nat hook prerouting priority dstnat;
		fib daddr type local tcp dport 30080 redirect to :8080
		fib daddr type local tcp dport 443 redirect to :8080
	}
}
`
	l.load(t, []byte(redirect))
	for text, want := range map[string]string{
		"    node-ports: true\n":                  "443 dropped, 8080 dropped, 30080 open",
		"    node-ports: false\n":                 "443 dropped, 8080 dropped, 30080 dropped",
		"    rules: [{ports: 443}]\n":             "443 open, 8080 dropped, 30080 dropped",
		"    rules: [{ports: 8080}]\n":            "443 dropped, 8080 open, 30080 dropped",
		"    {rules: [], node-ports: 10.0.0.1}\n": "443 dropped, 8080 dropped, 30080 dropped",
	} {
		l.load(t, Script(parse(t, text), machine, Peers{}))
		var got []string
		for _, port := range []int{443, 8080, 30080} {
			got = append(got, fmt.Sprintf("%d %s", port, l.try(t, outsider4, machine4, port)))
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s: %s, want %s", strings.TrimSpace(text), all, want)
		}
	}
	// Ours is gone, theirs is as it was.
	l.load(t, Off())
	l.inside.do(t, func() error {
		output, err := exec.CommandContext(t.Context(), nft, "list", "tables").CombinedOutput()
		if got := strings.TrimSpace(string(output)); got != "table ip proxy" {
			t.Errorf("tables: %s", got)
		}
		return err
	})
}

// TestKernelAtOnce: a script with a mistake changes nothing, and connections
// outlive a change of the rules.
func TestKernelAtOnce(t *testing.T) {
	l := newLab(t)
	l.load(t, Script(parse(t, everything), machine, peersOf("192.0.2.10", "10.42.0.0/24 10.42.0.0/25")))
	l.load(t, Script(parse(t, "    rules: [{ports: 80}]\n"), machine, Peers{}))
	var conn net.Conn
	l.outside.do(t, func() (err error) {
		conn, err = net.Dial("tcp", machine4+":80")
		return err
	})
	defer conn.Close()
	l.inside.do(t, func() error {
		script := strings.Replace(string(Script(parse(t, "    {}\n"), machine, Peers{})), "dport 22", "dport nonsense:", 1)
		err := Kernel(t.Context(), []byte(script))
		if err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("a mistake: %v", err)
		}
		return nil
	})
	if got := l.try(t, outsider4, machine4, 80); got != "open" {
		t.Errorf("after a refused script port 80 is %s", got)
	}
	l.load(t, Script(parse(t, "    {}\n"), machine, Peers{}))
	if got := l.try(t, outsider4, machine4, 80); got != "dropped" {
		t.Errorf("a new connection to port 80 is %s", got)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := acknowledged(conn); err != nil {
		t.Errorf("a connection that was there: %v", err)
	}
}

// acknowledged waits until the other side has all that was sent.
func acknowledged(conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var pending int
		var failed error
		if err := raw.Control(func(fd uintptr) { pending, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || failed != nil {
			return errors.Join(err, failed)
		}
		if pending == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d bytes are not acknowledged", pending)
		}
	}
}

// TestKernelSets: the sets take new addresses without the table being made anew.
func TestKernelSets(t *testing.T) {
	l := newLab(t)
	root := t.TempDir()
	script := Script(parse(t, "    {}\n"), machine, Peers{})
	l.load(t, script)
	set := func(p Peers) {
		t.Helper()
		l.inside.do(t, func() error { return SetPeers(t.Context(), root, Kernel, p) })
	}
	if err := os.MkdirAll(root+"/run/skerry", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+ScriptFile, script, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ nodes, pods, want string }{
		{"", "", "dropped"},
		{node4 + " 2001:db8::3", "10.42.1.0/24 fd00::/64", "open"},
		{node4, "10.42.1.0/24 10.42.2.0/24", "open"},
		{"192.0.2.9", "", "dropped"},
	} {
		set(peersOf(step.nodes, step.pods))
		if got := l.try(t, node4, machine4, 80); got != step.want {
			t.Errorf("with nodes %s it is %s, want %s", step.nodes, got, step.want)
		}
	}
}
