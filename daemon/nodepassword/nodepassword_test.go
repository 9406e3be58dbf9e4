// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func secretOf(t *testing.T, client *fake.Clientset, node string) *corev1.Secret {
	t.Helper()
	s, err := client.CoreV1().Secrets("kube-system").Get(t.Context(), node+".node-password.k3s", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func node(name string, uid types.UID) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
}

func TestEnsure(t *testing.T) {
	client := fake.NewClientset()
	if err := NewStore(client).Ensure(t.Context(), "Agent-1", "right"); err != nil {
		t.Fatal(err)
	}
	secret := secretOf(t, client, "agent-1")
	if secret.Type != "k3s.cattle.io/node-password" || secret.Immutable == nil || !*secret.Immutable {
		t.Errorf("Secret of type %s, immutable %v", secret.Type, secret.Immutable)
	}
	if len(secret.Data) != 1 || len(secret.Data["hash"]) == 0 {
		t.Errorf("Secret holds %v", secret.Data)
	}
	// Another server, or this one restarted: nothing remembered.
	store := NewStore(client)
	for range 2 {
		if err := store.Ensure(t.Context(), "agent-1", "wrong"); !errors.Is(err, ErrMismatch) {
			t.Errorf("wrong password: %v", err)
		}
		if err := store.Ensure(t.Context(), "agent-1", "right"); err != nil {
			t.Errorf("right password: %v", err)
		}
	}
	if !reflect.DeepEqual(secret, secretOf(t, client, "agent-1")) {
		t.Error("the Secret changed")
	}
}

func TestEnsureConcurrently(t *testing.T) {
	client := fake.NewClientset()
	store := NewStore(client)
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() { results <- store.Ensure(t.Context(), "agent-1", string(rune('a'+i))) })
	}
	wg.Wait()
	close(results)
	admitted := 0
	for err := range results {
		if err == nil {
			admitted++
		} else if !errors.Is(err, ErrMismatch) {
			t.Error(err)
		}
	}
	if admitted != 1 {
		t.Errorf("%d machines were given one name", admitted)
	}
}

func TestEnsureErrors(t *testing.T) {
	boom := errors.New("webhook is down")
	for verb, want := range map[string]error{"create": ErrNotStored, "get": nil} {
		client := fake.NewClientset()
		client.PrependReactor(verb, "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, boom })
		err := NewStore(client).Ensure(t.Context(), "agent-1", "right")
		if !errors.Is(err, boom) || errors.Is(err, ErrMismatch) || (want != nil) != errors.Is(err, ErrNotStored) {
			t.Errorf("%s fails: %v", verb, err)
		}
	}
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-1.node-password.k3s", Namespace: "kube-system"},
		Data:       map[string][]byte{"hash": []byte("nonsense")},
	})
	if err := NewStore(client).Ensure(t.Context(), "agent-1", "right"); !errors.Is(err, ErrHash) || errors.Is(err, ErrMismatch) {
		t.Errorf("damaged Secret: %v", err)
	}
}

func TestAdopt(t *testing.T) {
	client := fake.NewClientset()
	store := NewStore(client)
	ctx := context.Background()
	if err := store.Adopt(ctx, node("agent-1", "uid-1")); err != nil {
		t.Fatalf("node without Secret: %v", err)
	}
	if err := store.Ensure(ctx, "agent-1", "right"); err != nil {
		t.Fatal(err)
	}
	hash := string(secretOf(t, client, "agent-1").Data["hash"])
	for _, uid := range []types.UID{"uid-1", "uid-1", "uid-2"} {
		if err := store.Adopt(ctx, node("agent-1", uid)); err != nil {
			t.Fatal(err)
		}
		secret := secretOf(t, client, "agent-1")
		want := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "agent-1", UID: uid}}
		if !reflect.DeepEqual(secret.OwnerReferences, want) {
			t.Errorf("owners %v, want %v", secret.OwnerReferences, want)
		}
		if string(secret.Data["hash"]) != hash {
			t.Error("the hash changed")
		}
	}
	// A node that registers while its Node is there owns its Secret at once.
	client = fake.NewClientset(node("agent-2", "uid-3"))
	if err := NewStore(client).Ensure(ctx, "agent-2", "right"); err != nil {
		t.Fatal(err)
	}
	if owners := secretOf(t, client, "agent-2").OwnerReferences; len(owners) != 1 || owners[0].UID != "uid-3" {
		t.Errorf("owners %v", owners)
	}
}

// TestComeBack: a machine that registers again between the deletion of its Node and that of the Secret which the Node owned
// must not lose the Secret afterwards.
func TestComeBack(t *testing.T) {
	ctx := context.Background()
	owned := func(t *testing.T) (*fake.Clientset, *Store) {
		client := fake.NewClientset(node("agent-1", "uid-1"))
		store := NewStore(client)
		if err := store.Ensure(ctx, "agent-1", "right"); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().Nodes().Delete(ctx, "agent-1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		return client, store
	}
	t.Run("before the Secret is collected", func(t *testing.T) {
		client, store := owned(t)
		if err := store.Ensure(ctx, "agent-1", "right"); err != nil {
			t.Fatal(err)
		}
		if owners := secretOf(t, client, "agent-1").OwnerReferences; len(owners) != 0 {
			t.Errorf("owned by %v, which is gone", owners)
		}
	})
	t.Run("with another Node", func(t *testing.T) {
		client, store := owned(t)
		if err := client.Tracker().Add(node("agent-1", "uid-2")); err != nil {
			t.Fatal(err)
		}
		if err := store.Ensure(ctx, "agent-1", "right"); err != nil {
			t.Fatal(err)
		}
		if owners := secretOf(t, client, "agent-1").OwnerReferences; len(owners) != 1 || owners[0].UID != "uid-2" {
			t.Errorf("owned by %v", owners)
		}
	})
	t.Run("while it is collected", func(t *testing.T) {
		client, store := owned(t)
		collected := false
		client.PrependReactor("update", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if collected {
				return false, nil, nil
			}
			collected = true
			name := SecretName("agent-1")
			if err := client.Tracker().Delete(action.GetResource(), "kube-system", name); err != nil {
				t.Error(err)
			}
			return true, nil, apierrors.NewNotFound(action.GetResource().GroupResource(), name)
		})
		if err := store.Ensure(ctx, "agent-1", "right"); err != nil {
			t.Fatal(err)
		}
		if owners := secretOf(t, client, "agent-1").OwnerReferences; len(owners) != 0 {
			t.Errorf("owned by %v", owners)
		}
	})
	t.Run("with a wrong password", func(t *testing.T) {
		client, store := owned(t)
		if err := store.Ensure(ctx, "agent-1", "wrong"); !errors.Is(err, ErrMismatch) {
			t.Errorf("got %v", err)
		}
		if owners := secretOf(t, client, "agent-1").OwnerReferences; len(owners) != 1 {
			t.Errorf("owned by %v: it must be collected", owners)
		}
	})
}
