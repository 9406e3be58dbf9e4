// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

const day = 24 * time.Hour

// Certificates that a machine issues last a year, and are renewed 120 days before they expire.
const (
	certificateLife = 365 * day
	renewedBefore   = 120 * day
)

// issuer is an authority of a server.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func issuersOf(ctx context.Context, server *vm.Machine) ([]issuer, error) {
	var all []issuer
	for _, name := range []string{"client-ca", "server-ca", "request-header-ca"} {
		certs, err := certificates(ctx, server, serverTLS+name+".crt")
		if err != nil {
			return nil, err
		}
		out, err := server.Run(ctx, "sudo cat "+serverTLS+name+".key")
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode([]byte(out))
		if block == nil {
			return nil, fmt.Errorf("%s.key of %s is no PEM", name, server.Name())
		}
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s.key of %s: %w", name, server.Name(), err)
		}
		all = append(all, issuer{certs[0], key})
	}
	return all, nil
}

// leafCertificates reads the certificates of a machine, but for those of authorities, by file.
func leafCertificates(ctx context.Context, m *vm.Machine) (map[string][]*x509.Certificate, error) {
	return certificatesIn(ctx, m, "$(find "+serverTLS+" "+agentTLS+" -maxdepth 2 -name '*.crt' -not -path '*/containerd/*' -not -path '*/tls-*/*' -not -name '*-ca*.crt' 2>/dev/null)")
}

// age puts certificates in the place of all of a machine's that are like them but for when they expire: what there would
// be if left had been left of their year. A machine can't tell that from one whose clock has gone on, and its clock stays
// that of the machine that the tests run on.
func age(ctx context.Context, m *vm.Machine, issuers []issuer, left time.Duration) error {
	all, err := leafCertificates(ctx, m)
	if err != nil {
		return err
	}
	for file, chain := range all {
		der, err := aged(chain[0], issuers, time.Now().Add(left))
		if err != nil {
			return fmt.Errorf("%s of %s: %w", file, m.Name(), err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		for _, cert := range chain[1:] {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		if _, err := m.RunInput(ctx, "sudo tee "+file+" >/dev/null", bytes.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}

// aged returns a certificate (DER) like cert, for the same key, that expires at a time.
func aged(cert *x509.Certificate, issuers []issuer, expires time.Time) ([]byte, error) {
	for _, by := range issuers {
		if !bytes.Equal(by.cert.RawSubject, cert.RawIssuer) {
			continue
		}
		return x509.CreateCertificate(rand.Reader, &x509.Certificate{
			Subject: cert.Subject, DNSNames: cert.DNSNames, IPAddresses: cert.IPAddresses,
			KeyUsage: cert.KeyUsage, ExtKeyUsage: cert.ExtKeyUsage, BasicConstraintsValid: true,
			NotBefore: expires.Add(-certificateLife), NotAfter: expires,
		}, by.cert, cert.PublicKey, by.key)
	}
	return nil, fmt.Errorf("the server has no authority %s", cert.Issuer)
}

// renewed checks that all certificates of a machine are valid for most of a year after now, which is the machine's.
func renewed(ctx context.Context, m *vm.Machine, now time.Time) error {
	all, err := leafCertificates(ctx, m)
	if err != nil {
		return err
	}
	var errs []error
	for file, chain := range all {
		if left := chain[0].NotAfter.Sub(now); left < certificateLife-day {
			errs = append(errs, fmt.Errorf("%s of %s expires in %d days", file, m.Name(), int(left/day)))
		}
	}
	return errors.Join(errs...)
}

func waitRenewed(ctx context.Context, m *vm.Machine, now func() time.Time) error {
	return vm.Wait(ctx, "new certificates on "+m.Name(), vm.ReadyTimeout, func(ctx context.Context) error { return renewed(ctx, m, now()) })
}

// processes names the processes of a machine's Kubernetes and says how often systemd has started each again.
func processes(ctx context.Context, m *vm.Machine) (string, error) {
	return m.Run(ctx, "systemctl show --property=Id --property=MainPID --property=NRestarts skerry-control.service skerry-node.service skerry-containerd.service")
}

// sameProcesses checks that none of them was restarted since.
func sameProcesses(ctx context.Context, m *vm.Machine, before string) error {
	now, err := processes(ctx, m)
	if err == nil && now != before {
		err = fmt.Errorf("the processes of %s were\n%s\nand are\n%s", m.Name(), before, now)
	}
	return err
}

// configMapWatch is one watch of ConfigMaps, by a kubectl that ends with it, on a server.
type configMapWatch struct {
	server    *vm.Machine
	namespace string
	made      int
}

const (
	watchUnit = "test-watch"
	watchFile = "/run/test-watch"
)

func newWatch(ctx context.Context, server *vm.Machine, namespace string) (*configMapWatch, error) {
	_, err := server.Run(ctx, "sudo systemd-run --quiet --unit="+watchUnit+" --property=StandardOutput=file:"+watchFile+
		" kubectl --kubeconfig "+adminKubeconfig+" -n "+namespace+" get configmaps --watch -o name")
	if err != nil {
		return nil, err
	}
	w := &configMapWatch{server: server, namespace: namespace}
	return w, w.goesOn(ctx)
}

// adminKubeconfig is the server's own.
const adminKubeconfig = "/etc/rancher/k3s/k3s.yaml"

// goesOn makes a ConfigMap and waits until the watch has told of it.
func (w *configMapWatch) goesOn(ctx context.Context) error {
	w.made++
	name := fmt.Sprintf("seen-%d", w.made)
	if err := vm.Wait(ctx, "a ConfigMap to be made", vm.ReadyTimeout, func(ctx context.Context) error {
		_, err := w.server.Kubectl(ctx, "-n", w.namespace, "create", "configmap", name)
		if err != nil && strings.Contains(err.Error(), "already exists") {
			return nil // the answer to the last attempt was lost
		}
		return err
	}); err != nil {
		return err
	}
	if err := vm.Wait(ctx, "the watch to tell of "+name, time.Minute, func(ctx context.Context) error {
		return outputHas(ctx, w.server, "sudo cat "+watchFile, "configmap/"+name)
	}); err != nil {
		return err
	}
	_, err := w.server.Run(ctx, "systemctl is-active "+watchUnit+".service")
	return err
}
