// SPDX-License-Identifier: Apache-2.0

// Package encryption decides with which key kube-apiserver encrypts Secrets, and replaces keys, on all servers of a cluster
// and through interruptions, without a moment in which a server can't read what another wrote.
//
// The configuration of the keys, and how far a change of them is, are parts of the cluster's identity (package bootstrap):
// the datastore has them, and each server its copy on disk, in K3s' format.
package encryption

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// Providers are the ways to encrypt, by kube-apiserver's names.
const (
	Secretbox = "secretbox" // XSalsa20 and Poly1305
	AESCBC    = "aescbc"    // AES-256 in CBC mode
	identity  = "identity"  // not at all
)

const (
	// keyBytes is the length of a key of either provider.
	keyBytes = 32
	// uniqueBytes tell apart keys of one second.
	uniqueBytes = 4
	// encryptedPrefix begins every encrypted value in the datastore.
	encryptedPrefix = "k8s:enc:"
	secrets         = "secrets"
)

// errForeign is of a configuration that neither Skerry nor K3s has made.
var errForeign = errors.New("the configuration of Secrets' keys has more than keys of secretbox and aescbc for Secrets; " +
	"nothing was changed")

// writer is one way to write a Secret, and to read it.
type writer struct {
	provider string
	name     string // of the key; empty for identity
	secret   string // base64
}

// plain writes Secrets as they are.
var plain = writer{provider: identity}

// newWriter makes a key. Its name is that of no other key: kube-apiserver, and wrote, know by it which key wrote a value.
func newWriter(provider string, now time.Time) writer {
	key, unique := make([]byte, keyBytes), make([]byte, uniqueBytes)
	rand.Read(key)    //nolint:errcheck // crypto/rand's Read never fails
	rand.Read(unique) //nolint:errcheck // the same
	return writer{
		provider: provider,
		name:     provider + "key-" + now.UTC().Format("20060102t150405z") + "-" + hex.EncodeToString(unique),
		secret:   base64.StdEncoding.EncodeToString(key),
	}
}

// wrote reports whether a value of the datastore is this writer's.
func (w writer) wrote(value []byte) bool {
	if w == plain {
		return !strings.HasPrefix(string(value[:min(len(value), len(encryptedPrefix))]), encryptedPrefix)
	}
	prefix := encryptedPrefix + w.provider + ":v1:" + w.name + ":"
	return strings.HasPrefix(string(value[:min(len(value), len(prefix))]), prefix)
}

// keyring is an ordered list of ways to read Secrets, of which the first writes them.
type keyring []writer

// encrypts says whether new values are encrypted.
func (k keyring) encrypts() bool { return len(k) > 0 && k[0] != plain }

// with adds a writer in the second place, where it reads and doesn't write yet.
func (k keyring) with(w writer) keyring {
	rest := slices.DeleteFunc(slices.Clone(k[1:]), func(other writer) bool { return other == w })
	return slices.Concat(k[:1], keyring{w}, rest)
}

// promoted lets the second write.
func (k keyring) promoted() keyring {
	if len(k) < 2 {
		return k
	}
	return slices.Concat(keyring{k[1], k[0]}, k[2:])
}

// reduced leaves only the first, and what is plain readable: a Secret that is restored from elsewhere may be.
func (k keyring) reduced() keyring {
	if !k.encrypts() {
		return keyring{plain}
	}
	return keyring{k[0], plain}
}

// encode returns the configuration for kube-apiserver.
func (k keyring) encode() ([]byte, error) {
	var providers []apiserverv1.ProviderConfiguration
	for i, w := range k {
		key := apiserverv1.Key{Name: w.name, Secret: w.secret}
		again := i > 0 && k[i-1].provider == w.provider
		switch {
		case w.provider == identity:
			providers = append(providers, apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}})
		case w.provider == Secretbox && again:
			last := providers[len(providers)-1].Secretbox
			last.Keys = append(last.Keys, key)
		case w.provider == Secretbox:
			providers = append(providers, apiserverv1.ProviderConfiguration{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: []apiserverv1.Key{key}}})
		case w.provider == AESCBC && again:
			last := providers[len(providers)-1].AESCBC
			last.Keys = append(last.Keys, key)
		case w.provider == AESCBC:
			providers = append(providers, apiserverv1.ProviderConfiguration{AESCBC: &apiserverv1.AESConfiguration{Keys: []apiserverv1.Key{key}}})
		default:
			return nil, fmt.Errorf("secrets-encryption-provider %q is neither secretbox nor aescbc", w.provider)
		}
	}
	data, err := json.Marshal(apiserverv1.EncryptionConfiguration{
		TypeMeta:  metav1.TypeMeta{Kind: "EncryptionConfiguration", APIVersion: "apiserver.config.k8s.io/v1"},
		Resources: []apiserverv1.ResourceConfiguration{{Resources: []string{secrets}, Providers: providers}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the configuration of Secrets' keys: %w", err)
	}
	return data, nil
}

// parseKeyring reads a configuration of Skerry's or K3s'. Its errors quote nothing of it.
func parseKeyring(data []byte) (keyring, error) {
	var config apiserverv1.EncryptionConfiguration
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, errors.New("the configuration of Secrets' keys is not JSON")
	}
	if len(config.Resources) != 1 || !slices.Equal(config.Resources[0].Resources, []string{secrets}) {
		return nil, errForeign
	}
	var k keyring
	for _, p := range config.Resources[0].Providers {
		switch {
		case p.AESGCM != nil || p.KMS != nil:
			return nil, errForeign
		case p.Identity != nil:
			k = append(k, plain)
		case p.Secretbox != nil:
			for _, key := range p.Secretbox.Keys {
				k = append(k, writer{provider: Secretbox, name: key.Name, secret: key.Secret})
			}
		case p.AESCBC != nil:
			for _, key := range p.AESCBC.Keys {
				k = append(k, writer{provider: AESCBC, name: key.Name, secret: key.Secret})
			}
		}
	}
	if len(k) == 0 {
		return nil, errForeign
	}
	return k, nil
}
