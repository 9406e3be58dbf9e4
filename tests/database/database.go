// SPDX-License-Identifier: Apache-2.0

// Package database runs the database servers that clusters are kept in: Debian's own, on the loopback of this machine, with
// TLS and an empty database each time. A lab makes them reachable for its machines.
package database

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Password is the database user's.
const Password = "the-databases-password"

// User and Name are of the database.
const (
	User = "skerry"
	Name = "kubernetes"
)

// startTimeout is for a server to accept connections.
const startTimeout = 2 * time.Minute

// nobody is whom servers run as: those of SQL refuse to be root.
const nobody = 65534

// Kind is a kind of database server.
type Kind string

// The kinds there are.
const (
	Postgres Kind = "postgres"
	MariaDB  Kind = "mariadb"
	NATS     Kind = "nats"
	Etcd     Kind = "etcd"
)

// Server is a running database server. It runs until Close.
type Server struct {
	Kind Kind
	// Address is where it listens, on the loopback.
	Address netip.AddrPort
	// CA, Cert and Key are PEM: what clients check the server with, and what they show it. SQL servers want a password
	// instead of a certificate.
	CA, Cert, Key []byte

	dir  string
	log  *os.File
	cmd  *exec.Cmd
	done chan struct{}
	once sync.Once
}

// Start starts a server that is known to its clients by the names, DNS names or addresses. Its files are in a folder of
// its own below the system's for temporary files, since it runs as a user who can't enter everybody's folders; what it says
// goes to the file log.
func Start(ctx context.Context, kind Kind, log string, names ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "skerry-"+string(kind)+"-*")
	if err != nil {
		return nil, err
	}
	s := &Server{Kind: kind, dir: dir, done: make(chan struct{})}
	close(s.done) // nothing runs yet
	if err := s.start(ctx, log, names); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w (its log is %s)", kind, err, log)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, log string, names []string) error {
	var err error
	if s.log, err = os.Create(log); err != nil {
		return err
	}
	if s.Address, err = freePort(ctx); err != nil {
		return err
	}
	if err := s.writeCertificates(names); err != nil {
		return err
	}
	argv, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	return s.run(ctx, argv)
}

// Endpoint is the datastore-endpoint for a machine that reaches the server at host, on its Port.
func (s *Server) Endpoint(host string) string {
	return s.endpoint(net.JoinHostPort(host, strconv.Itoa(int(s.Port()))))
}

// LocalEndpoint is the datastore-endpoint for a process of this machine.
func (s *Server) LocalEndpoint() string { return s.endpoint(s.Address.String()) }

func (s *Server) endpoint(address string) string {
	switch s.Kind {
	case Postgres:
		return fmt.Sprintf("postgres://%s:%s@%s/%s", User, Password, address, Name)
	case MariaDB:
		return fmt.Sprintf("mysql://%s:%s@tcp(%s)/%s", User, Password, address, Name)
	case NATS:
		return fmt.Sprintf("nats://%s:%s@%s", User, Password, address)
	default:
		return "https://" + address
	}
}

// Port is where machines find it: each kind's usual one.
func (s *Server) Port() uint16 {
	return map[Kind]uint16{Postgres: 5432, MariaDB: 3306, NATS: 4222, Etcd: 2379}[s.Kind]
}

// prepare makes an empty database and returns the command that serves it.
func (s *Server) prepare(ctx context.Context) ([]string, error) {
	data := s.path("data")
	switch s.Kind {
	case Postgres:
		return s.preparePostgres(ctx, data)
	case MariaDB:
		return s.prepareMariaDB(ctx, data)
	case NATS:
		return s.prepareNATS(data)
	case Etcd:
		peer, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		return []string{
			"etcd", "--data-dir", data, "--log-outputs", "stderr",
			"--listen-client-urls", "https://" + s.Address.String(), "--advertise-client-urls", "https://" + s.Address.String(),
			"--listen-peer-urls", "http://" + peer.String(), "--initial-advertise-peer-urls", "http://" + peer.String(),
			"--initial-cluster", "default=http://" + peer.String(),
			"--cert-file", s.path("server.crt"), "--key-file", s.path("server.key"),
			"--client-cert-auth", "--trusted-ca-file", s.path("ca.crt"),
		}, nil
	}
	return nil, fmt.Errorf("no such kind of database: %q", s.Kind)
}

func (s *Server) preparePostgres(ctx context.Context, data string) ([]string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return nil, errors.New("no PostgreSQL server is installed")
	}
	bin := filepath.Dir(found[len(found)-1])
	if err := os.WriteFile(s.path("password"), []byte(Password+"\n"), 0o600); err != nil {
		return nil, err
	}
	err = s.tool(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--username", User, "--auth", "scram-sha-256",
		"--pwfile", s.path("password"), "--encoding", "UTF8", "--no-locale")
	if err != nil {
		return nil, err
	}
	return []string{
		filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(int(s.Address.Port())),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.dir, "-c", "ssl=on",
		"-c", "ssl_cert_file=" + s.path("server.crt"), "-c", "ssl_key_file=" + s.path("server.key"),
	}, nil
}

func (s *Server) prepareMariaDB(ctx context.Context, data string) ([]string, error) {
	err := s.tool(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal")
	if err != nil {
		return nil, err
	}
	// Only encrypted connections are let in, so that a client which forgets TLS shows.
	statements := fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s' REQUIRE SSL;\nGRANT ALL ON *.* TO '%s'@'%%';\n",
		User, Password, User)
	if err := os.WriteFile(s.path("init.sql"), []byte(statements), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"mariadbd", "--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(int(s.Address.Port())), "--socket=" + s.path("mariadb.sock"), "--pid-file=" + s.path("mariadb.pid"),
		"--init-file=" + s.path("init.sql"), "--max-connections=500",
		"--ssl-ca=" + s.path("ca.crt"), "--ssl-cert=" + s.path("server.crt"), "--ssl-key=" + s.path("server.key"),
	}, nil
}

func (s *Server) prepareNATS(data string) ([]string, error) {
	// The password is in a file, and not among the arguments, which everybody sees.
	config := fmt.Sprintf("authorization {user: %s, password: %q}\njetstream {store_dir: %q}\ntls {cert_file: %q, key_file: %q}\n",
		User, Password, data, s.path("server.crt"), s.path("server.key"))
	if err := os.WriteFile(s.path("nats.conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return []string{"nats-server", "--config", s.path("nats.conf"), "--addr", "127.0.0.1", "--port", strconv.Itoa(int(s.Address.Port()))}, nil
}

// tool runs a program that prepares the database, to its end.
func (s *Server) tool(ctx context.Context, name string, args ...string) error {
	if err := s.own(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.SysProcAttr = s.log, s.log, s.dir, s.attributes()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// own gives the folder to the user that the server runs as.
func (s *Server) own() error {
	return filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
}

func (s *Server) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
}

func (s *Server) run(ctx context.Context, argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it ends with Close, in order
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.SysProcAttr = s.log, s.log, s.dir, s.attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		defer close(s.done)
		cmd.Wait() //nolint:errcheck // that it ended is what its clients see, and the log has why
	}()
	deadline := time.Now().Add(startTimeout)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Address.String())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not there after %s: %w", startTimeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return fmt.Errorf("it ended: %s", cmd.ProcessState)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Group is the process group that the server's processes are in.
func (s *Server) Group() int { return s.cmd.Process.Pid }

// Pause stops the server where it is, as a host that hangs does: connections stay open and nothing answers.
func (s *Server) Pause() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGCONT) }

// Stop ends the server in order.
func (s *Server) Stop() error {
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("%s did not end", s.Kind)
	}
}

// Again starts a server that was stopped, with the same data.
func (s *Server) Again(ctx context.Context) error { return s.run(ctx, s.cmd.Args) }

// Close ends the server, the hard way, and removes its data.
func (s *Server) Close() {
	s.once.Do(func() {
		if s.cmd != nil {
			syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
		<-s.done
		if s.log != nil {
			s.log.Close()
		}
		os.RemoveAll(s.dir) //nolint:errcheck // below the folder for temporary files
	})
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// freePort returns a port of the loopback that nobody listens on.
func freePort(ctx context.Context) (netip.AddrPort, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}
