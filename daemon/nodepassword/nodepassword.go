// SPDX-License-Identifier: Apache-2.0

// Package nodepassword remembers, on the server, which machine registered a
// node's name first: the hash of that machine's password is a Secret in
// kube-system, and whoever uses the name later must know the password.
//
// Secrets have K3s' names, type and format. They are never changed: a node that
// lost its password gets in again only after its Node, and with it the Secret,
// was deleted.
package nodepassword

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// What K3s calls the Secrets.
const (
	namespace    = metav1.NamespaceSystem
	secretSuffix = ".node-password.k3s"
	secretKey    = "hash"
	// SecretType marks the Secrets among others.
	SecretType corev1.SecretType = "k3s.cattle.io/node-password"
)

var (
	// ErrMismatch is wrapped when the password isn't that of the machine which
	// registered the name.
	ErrMismatch = errors.New("node password rejected")
	// ErrNotStored is wrapped when the name was free but the Secret couldn't be
	// created. K3s admits such a node, and checks again later.
	ErrNotStored = errors.New("node password not stored")
)

// SecretName returns the name of a node's Secret.
func SecretName(node string) string { return strings.ToLower(node) + secretSuffix }

// Store keeps the passwords of a cluster's nodes. It may be used concurrently.
type Store struct {
	client kubernetes.Interface
	// hashing is held while a hash is computed. Each takes 32 MiB and a good part
	// of a second on a small machine; fifty nodes that join at once would take
	// that fifty times over.
	hashing sync.Mutex
	// verified remembers, for each stored hash, a digest of the password that
	// matched it: a node asks for several certificates in a row.
	verified map[string]digest
}

// NewStore returns a Store that keeps Secrets through client.
func NewStore(client kubernetes.Interface) *Store {
	return &Store{client: client, verified: map[string]digest{}}
}

// Ensure checks that node may be registered by whoever knows password, and
// reserves the name if it is free. Its error wraps ErrMismatch or ErrNotStored,
// or tells why the Secret couldn't be read.
func (s *Store) Ensure(ctx context.Context, node, password string) error {
	// Another round is needed when the Secret changes between our look and our
	// attempt: another server creates it, or it is collected after its Node.
	for range 3 {
		secret, err := s.client.CoreV1().Secrets(namespace).Get(ctx, SecretName(node), metav1.GetOptions{})
		switch {
		case err == nil:
			if err := s.verify(node, secret, password); err != nil {
				return err
			}
			err = s.keep(ctx, node, secret)
		case apierrors.IsNotFound(err):
			err = s.create(ctx, node, password)
		default:
			return fmt.Errorf("read password of node %s: %w", node, err)
		}
		changed := apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.IsConflict(err)
		if !changed || errors.Is(err, ErrNotStored) {
			return err
		}
	}
	return fmt.Errorf("password of node %s: created and deleted while it was looked at", node)
}

// keep sees to it that a Secret whose Node was deleted isn't collected when the
// machine has come back before that: the name would be free under its feet.
func (s *Store) keep(ctx context.Context, node string, secret *corev1.Secret) error {
	if len(secret.OwnerReferences) == 0 {
		return nil
	}
	obj, err := s.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case err == nil:
		return s.own(ctx, secret, ownerReference(obj))
	case apierrors.IsNotFound(err):
		return s.own(ctx, secret)
	}
	return fmt.Errorf("look for node %s: %w", node, err)
}

func (s *Store) create(ctx context.Context, node, password string) error {
	hash, err := s.hash(password)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: SecretName(node), Namespace: namespace},
		Type:       SecretType,
		Immutable:  ptr.To(true),
		Data:       map[string][]byte{secretKey: []byte(hash)},
	}
	// A node that comes back after its Secret alone was deleted is there already.
	if obj, err := s.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}); err == nil {
		secret.OwnerReferences = []metav1.OwnerReference{ownerReference(obj)}
	}
	_, err = s.client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%w for node %s: %w", ErrNotStored, node, err)
	}
	return err
}

func (s *Store) verify(node string, secret *corev1.Secret, password string) error {
	stored := string(secret.Data[secretKey])
	s.hashing.Lock()
	defer s.hashing.Unlock()
	if known, ok := s.verified[stored]; ok && known.matches(password) {
		return nil
	}
	h, err := ParseHash(stored)
	if err != nil {
		return fmt.Errorf("read Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	ok, err := h.Verify(password)
	if err != nil {
		return fmt.Errorf("verify password of node %s: %w", node, err)
	}
	if !ok {
		return fmt.Errorf("%w: it doesn't match Secret %s/%s", ErrMismatch, secret.Namespace, secret.Name)
	}
	s.verified[stored] = newDigest(password)
	return nil
}

func (s *Store) hash(password string) (string, error) {
	s.hashing.Lock()
	defer s.hashing.Unlock()
	h, err := NewHash(password)
	if err != nil {
		return "", err
	}
	s.verified[h.String()] = newDigest(password)
	return h.String(), nil
}

// Adopt makes node the owner of its Secret, so that deleting the Node deletes
// the Secret and frees the name. A node without a Secret is left alone.
func (s *Store) Adopt(ctx context.Context, node *corev1.Node) error {
	secrets := s.client.CoreV1().Secrets(namespace)
	secret, err := secrets.Get(ctx, SecretName(node.Name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read password of node %s: %w", node.Name, err)
	}
	return s.own(ctx, secret, ownerReference(node))
}

// own makes owners, one Node or none, the only owners of a Secret: a reference
// to an earlier Node of this name would have it collected.
func (s *Store) own(ctx context.Context, secret *corev1.Secret, owners ...metav1.OwnerReference) error {
	for _, owner := range secret.OwnerReferences {
		if len(owners) > 0 && owner.UID == owners[0].UID {
			return nil
		}
	}
	secret.OwnerReferences = owners
	if _, err := s.client.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("set owner of Secret %s/%s: %w", namespace, secret.Name, err)
	}
	return nil
}

func ownerReference(node *corev1.Node) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
}
