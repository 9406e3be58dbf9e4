// SPDX-License-Identifier: Apache-2.0

package join

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

const fileMode = 0o600

func (j *joiner) fetchAuthorities(ctx context.Context, s *session) error {
	for path, file := range map[string]string{
		api.PathClientCA: j.files.ClientCA,
		api.PathServerCA: j.files.ServerCA,
	} {
		data, err := s.authenticated(ctx, http.MethodGet, path, nil, nil)
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(data); block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("%w: %s: no certificate in it", errAnswer, path)
		}
		if err := atomicfile.WriteIfChanged(file, data, fileMode); err != nil {
			return err
		}
	}
	return nil
}

// certificateRequest is one certificate of a node on its way.
type certificateRequest struct {
	path   string
	pair   Pair
	header http.Header

	key crypto.Signer
	// keyPEM is a new key, which is written together with its certificate: a
	// request that is refused leaves the pair there was.
	keyPEM []byte
	cert   []byte
}

// requestCertificates has all certificates signed before it writes the first, so
// that a node refused half way keeps the set it has.
func (j *joiner) requestCertificates(ctx context.Context, s *session) error {
	node := http.Header{}
	node.Set(api.HeaderNodeName, j.NodeName)
	node.Set(api.HeaderNodePassword, j.NodePassword)
	node.Set(api.HeaderNodeIP, api.FormatNodeIPs(j.NodeIPs))
	if j.BootID != "" {
		node.Set(api.HeaderBootID, j.BootID)
	}

	rotated, err := pki.RequestedRotation(j.files.Dir)
	if err != nil {
		return err
	}
	requests := []certificateRequest{
		{path: api.PathServingKubelet, pair: j.files.ServingKubelet, header: node},
		{path: api.PathClientKubelet, pair: j.files.ClientKubelet, header: node},
		{path: api.PathClientKubeProxy, pair: j.files.ClientKubeProxy},
		{path: api.PathClientControllers, pair: j.files.ClientController},
	}
	for i := range requests {
		r := &requests[i]
		if err := r.sign(ctx, s, slices.Contains(rotated, r.pair.name())); err != nil {
			return err
		}
	}
	if err := writePairs(j.files.Dir, requests); err != nil {
		return err
	}
	return pki.EndRotation(j.files.Dir, rotated)
}

// sign has the server sign a certificate for the key there is, or for a fresh one.
func (r *certificateRequest) sign(ctx context.Context, s *session, fresh bool) (err error) {
	if fresh {
		r.key, r.keyPEM, err = pki.NewKey()
	} else {
		r.key, err = pki.EnsureKey(r.pair.Key)
	}
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, r.key)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	if r.cert, err = s.authenticated(ctx, http.MethodPost, r.path, r.header, csr); err != nil {
		return err
	}
	if err := checkPair(r.cert, r.key); err != nil {
		return fmt.Errorf("%w: %s: %w", errAnswer, r.path, err)
	}
	return nil
}

// journalFile makes a power cut in the middle of writePairs harmless: with a
// certificate that is for another key, a node would have to prove itself with a
// token again, which may have expired by now.
const journalFile = "certificates.journal"

// writePairs writes what was signed, below dir.
func writePairs(dir string, requests []certificateRequest) error {
	var files []atomicfile.File
	for _, r := range requests {
		if r.keyPEM != nil {
			files = append(files, atomicfile.File{Path: filepath.Base(r.pair.Key), Data: r.keyPEM, Mode: fileMode})
		}
		files = append(files, atomicfile.File{Path: filepath.Base(r.pair.Cert), Data: r.cert, Mode: fileMode})
	}
	journal := filepath.Join(dir, journalFile)
	if err := atomicfile.Stage(journal, files); err != nil {
		return err
	}
	_, err := atomicfile.Commit(journal)
	return err
}

// checkPair refuses an answer that isn't a certificate for key: written down, it
// would stop the kubelet with an error that says nothing of its origin.
func checkPair(cert []byte, key crypto.Signer) error {
	block, _ := pem.Decode(cert)
	if block == nil {
		return fmt.Errorf("no certificate in %d bytes", len(cert))
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if !bytes.Equal(parsed.RawSubjectPublicKeyInfo, public) {
		return fmt.Errorf("certificate of %s is for another key", parsed.Subject)
	}
	return nil
}

// writeKubeconfigs names the files, not their content: what is renewed is read
// again by its users.
func (j *joiner) writeKubeconfigs(context.Context, *session) error {
	for file, pair := range map[string]Pair{
		j.files.KubeletKubeconfig:    j.files.ClientKubelet,
		j.files.KubeProxyKubeconfig:  j.files.ClientKubeProxy,
		j.files.ControllerKubeconfig: j.files.ClientController,
	} {
		k := pki.Kubeconfig{
			Server: j.APIServer, TLSServerName: api.ServerName, CAFile: j.files.ServerCA, CertFile: pair.Cert, KeyFile: pair.Key, Name: "local",
		}
		if err := k.Write(file, fileMode); err != nil {
			return err
		}
	}
	return nil
}
