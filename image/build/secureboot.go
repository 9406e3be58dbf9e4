// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// signPackages are those of a tree of their own: who signs nothing needs none of them.
var signPackages = []string{
	"systemd-repart", // systemd-sbsign
	"efitools",       // lists of certificates as the firmware takes them
	"faketime",       // a signature has the time in it, and the same image would have another one each time
}

func signToolsKey(b *build, d *digest) { d.text(b.mmdebstrapArgs(signPackages, "")...) }

// makeSignTools makes tree/, as makeTools does.
func makeSignTools(ctx context.Context, b *build, dir string) error {
	return b.bootstrap(ctx, signPackages, dir)
}

// signSteps come before the UKI where it is to be signed.
var signSteps = []step{
	{"sign-tools", "tools tree: systemd-sbsign, efitools", signToolsKey, makeSignTools},
	{"secure-boot", "signed boot loader, certificates to enrol", secureBootKey, makeSecureBoot},
}

// A signer signs what firmware with Secure Boot turned on is to start.
type signer struct {
	key         string // the file of the private key, which is read by nothing but the tools that sign
	certificate *x509.Certificate
	trusted     []*x509.Certificate // to be enrolled beside it
}

// newSigner reads what the options name; nil where nothing is to be signed.
func newSigner(o options) (*signer, error) {
	switch {
	case o.secureBootKey == "" && o.secureBootCert == "" && o.secureBootTrust == "":
		return nil, nil
	case o.secureBootKey == "" || o.secureBootCert == "":
		return nil, errors.New("a key for Secure Boot and its certificate go together: name both, SECURE_BOOT_KEY=FILE and SECURE_BOOT_CERT=FILE")
	}
	certificate, err := readCertificate(o.secureBootCert)
	if err != nil {
		return nil, fmt.Errorf("SECURE_BOOT_CERT: %w", err)
	}
	if err := checkSecureBootKey(o.secureBootKey, certificate); err != nil {
		return nil, fmt.Errorf("SECURE_BOOT_KEY: %w", err)
	}
	s := &signer{key: o.secureBootKey, certificate: certificate}
	for _, path := range strings.Fields(o.secureBootTrust) {
		trusted, err := readCertificate(path)
		if err != nil {
			return nil, fmt.Errorf("SECURE_BOOT_TRUST: %w", err)
		}
		s.trusted = append(s.trusted, trusted)
	}
	return s, nil
}

// readCertificate reads one in the form of PEM or DER; that of Microsoft's is the latter.
func readCertificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has no certificate, but a %s", path, strings.ToLower(block.Type))
		}
		data = block.Bytes
	}
	certificate, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s has no certificate: %w", path, err)
	}
	return certificate, nil
}

// checkSecureBootKey finds out before minutes of work that a key can't be used, or that the firmware would refuse what it signs.
func checkSecureBootKey(path string, certificate *x509.Certificate) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	switch {
	case block == nil:
		return fmt.Errorf("%s is no private key in the form of PEM", path)
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return fmt.Errorf("%s is locked with a passphrase, and nobody is asked for it: openssl pkey -in %s -out FILE writes it without", path, path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return fmt.Errorf("%s is no private key of RSA's", path) // what is in it is nobody's business
		}
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return fmt.Errorf("%s is a key of another kind than RSA, which is the only one that all firmware knows", path)
	}
	if !key.PublicKey.Equal(certificate.PublicKey) {
		return fmt.Errorf("%s is not the key of the certificate of %s", path, certificate.Subject)
	}
	return nil
}

// signing adds who signs to what a step depends on. The certificate stands for the key: it has the public half of it, and
// signatures of RSA's are the same each time.
func (b *build) signing(d *digest) {
	if b.signer == nil {
		return
	}
	d.text(b.keys["sign-tools"], b.epoch)
	for _, c := range append([]*x509.Certificate{b.signer.certificate}, b.signer.trusted...) {
		d.text("certificate", string(c.Raw))
	}
}

// signEFI signs an EFI program, which is replaced by what is signed.
func (b *build) signEFI(ctx context.Context, path string) error {
	if b.signer == nil {
		return nil
	}
	dir, name := filepath.Split(path)
	certificate := filepath.Join(dir, "signer.pem")
	if err := writeCertificate(certificate, b.signer.certificate); err != nil {
		return err
	}
	at, err := b.signingTime()
	if err != nil {
		return err
	}
	keyDir, keyName := filepath.Split(b.signer.key)
	binds := map[string]string{"out": dir, "key": keyDir}
	err = b.inTree(ctx, "sign-tools", binds, "faketime", "-f", at.Format(time.DateTime), "/usr/lib/systemd/systemd-sbsign", "sign",
		"--private-key=/mnt/key/"+keyName, "--certificate=/mnt/out/signer.pem", "--output=/mnt/out/"+name+".signed", "/mnt/out/"+name)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	if err := os.Remove(certificate); err != nil {
		return err
	}
	if err := os.Chmod(path+".signed", 0o644); err != nil {
		return err
	}
	return os.Rename(path+".signed", path)
}

// signingTime is the epoch, or when the certificate begins to be valid, as there are programs that look at it.
func (b *build) signingTime() (time.Time, error) {
	at, err := b.time()
	if begins := b.signer.certificate.NotBefore.UTC(); begins.After(at) {
		at = begins
	}
	return at, err
}

func writeCertificate(path string, c *x509.Certificate) error {
	return writeFile(path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}

func secureBootKey(b *build, d *digest) {
	d.text(b.keys["base"])
	b.signing(d)
}

// Variables of the firmware that say what it starts: who may change what is trusted (KEK), who may change that (PK), and what is
// trusted (db).
var secureBootVariables = []string{"KEK", "PK", "db"}

// makeSecureBoot makes systemd-boot, signed, and keys/, the values of the firmware's variables, signed as the firmware
// wants them. One key is all three, as one who has it can have everything started anyway.
func makeSecureBoot(ctx context.Context, b *build, dir string) error {
	loader := filepath.Join(dir, path.Base(b.bootLoader()))
	if err := copyFile(b.result("base", "root/"+b.bootLoader()), loader, 0o644); err != nil {
		return err
	}
	if err := b.signEFI(ctx, loader); err != nil {
		return err
	}
	work := filepath.Join(dir, "work")
	owner := uuidOf("secure-boot", string(b.signer.certificate.Raw))
	var own, all bytes.Buffer
	for i, c := range append([]*x509.Certificate{b.signer.certificate}, b.signer.trusted...) {
		name := strconv.Itoa(i)
		if err := writeCertificate(filepath.Join(work, name+".pem"), c); err != nil {
			return err
		}
		if err := b.inTree(ctx, "sign-tools", map[string]string{"work": work},
			"cert-to-efi-sig-list", "-g", owner, "/mnt/work/"+name+".pem", "/mnt/work/"+name+".esl"); err != nil {
			return err
		}
		list, err := os.ReadFile(filepath.Join(work, name+".esl"))
		if err != nil {
			return err
		}
		all.Write(list)
		if i == 0 {
			own.Write(list)
		}
	}
	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o755); err != nil {
		return err
	}
	at, err := b.signingTime()
	if err != nil {
		return err
	}
	keyDir, keyName := filepath.Split(b.signer.key)
	binds := map[string]string{"work": work, "key": keyDir, "keys": keys}
	for _, variable := range secureBootVariables {
		list := own
		if variable == "db" {
			list = all
		}
		if err := writeFile(filepath.Join(work, variable+".esl"), list.String()); err != nil {
			return err
		}
		if err := b.inTree(ctx, "sign-tools", binds, "sign-efi-sig-list", "-g", owner, "-t", at.Format(time.DateTime),
			"-k", "/mnt/key/"+keyName, "-c", "/mnt/work/0.pem", variable, "/mnt/work/"+variable+".esl", "/mnt/keys/"+variable+".auth"); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(keys, variable+".auth"), 0o644); err != nil {
			return err
		}
	}
	return os.RemoveAll(work)
}

// secureBootFiles are what is on an ESP of an image that is signed, beside what is on any: the certificates, where systemd-boot
// looks for them (loader.conf(5), secure-boot-enroll).
func (b *build) secureBootFiles() map[string]string {
	files := map[string]string{}
	if b.signer == nil {
		return files
	}
	for _, variable := range secureBootVariables {
		files["loader/keys/auto/"+variable+".auth"] = b.result("secure-boot", "keys/"+variable+".auth")
	}
	return files
}

// bootLoader is systemd-boot in the root.
func (b *build) bootLoader() string { return b.arch.efiProgram("systemd-boot", ".efi") }

// bootLoaderFile is systemd-boot as it is on an ESP.
func (b *build) bootLoaderFile() string {
	if b.signer == nil {
		return b.result("base", "root/"+b.bootLoader())
	}
	return b.result("secure-boot", path.Base(b.bootLoader()))
}
