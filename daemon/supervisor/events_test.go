// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/skerry-os/skerry/daemon/nodepassword"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// eventsOf are type and reason of a node's Events, each once, and all their texts.
func (s *testServer) eventsOf(t *testing.T, node string) (kinds []string, texts string) {
	t.Helper()
	list, err := s.client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range list.Items {
		if event.InvolvedObject.Kind != "Node" || event.InvolvedObject.Name != node {
			continue
		}
		if kind := event.Type + " " + event.Reason; !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		texts += event.Message + "\n"
	}
	slices.Sort(kinds)
	return kinds, texts
}

func (s *testServer) waitEvents(t *testing.T, node string, want ...string) (texts string) {
	t.Helper()
	var kinds []string
	waitFor(t, fmt.Sprintf("the Events %q of %s", want, node), func() bool {
		kinds, texts = s.eventsOf(t, node)
		return slices.Equal(kinds, want)
	})
	return texts
}

const (
	failedEvent   = "Warning NodePasswordValidationFailed"
	completeEvent = "Normal NodePasswordValidationComplete"
)

// webhookDown lets no Secret be created while it is true.
func webhookDown(s *testServer) *atomic.Bool {
	var down atomic.Bool
	down.Store(true)
	s.client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return down.Load(), nil, errors.New("webhook is down")
	})
	return &down
}

// TestEventsOfPasswords: whoever looks at the Node sees that it was admitted without
// a proof, and what came of it.
func TestEventsOfPasswords(t *testing.T) {
	s := newTestServer(t)
	down := webhookDown(s)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	register := func() {
		t.Helper()
		header := map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1"}
		if resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, resp.body)
		}
	}
	register()
	if texts := s.waitEvents(t, "agent-1", failedEvent); !strings.Contains(texts, "webhook is down") || !strings.Contains(texts, "every 5s") {
		t.Errorf("it says %q", texts)
	}
	down.Store(false)
	s.waitEvents(t, "agent-1", completeEvent, failedEvent)
	waitFor(t, "the end of it", func() bool { return len(s.deferred.list()) == 0 })
	_, before := s.eventsOf(t, "agent-1")
	register() // all is well: nothing to tell
	_, now := s.eventsOf(t, "agent-1")
	if now != before || strings.Contains(now, "pw-1") {
		t.Errorf("the Events were %q and are %q", before, now)
	}
}

// TestEventOfMismatch: a node was admitted, and is not who it says.
func TestEventOfMismatch(t *testing.T) {
	s := newTestServer(t)
	if err := nodepassword.NewStore(s.client).Ensure(t.Context(), "agent-1", "pw-1"); err != nil {
		t.Fatal(err)
	}
	s.deferred.add(deferredNode{nodeClaim: nodeClaim{node: "agent-1", password: "pw-2"}})
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	if texts := s.waitEvents(t, "agent-1", failedEvent); !strings.Contains(texts, "isn't the one its name was registered with") {
		t.Errorf("it says %q", texts)
	}
	waitFor(t, "the end of it", func() bool { return len(s.deferred.list()) == 0 })
}

// TestEventsOfOwnNode: that it is admitted before kube-apiserver answers is no news,
// that its password can't be stored then is.
func TestEventsOfOwnNode(t *testing.T) {
	s := newTestServer(t)
	header := map[string]string{api.HeaderNodeName: "server-1", api.HeaderNodePassword: ownPassword}
	if resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	down := webhookDown(s)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	s.waitEvents(t, "server-1", failedEvent)
	down.Store(false)
	s.waitEvents(t, "server-1", completeEvent, failedEvent)

	quiet := newTestServer(t)
	if resp := quiet.do(t, agentUser, "POST", api.PathClientKubelet, header, quiet.csr); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	quiet.SetAPIServer(http.NotFoundHandler(), quiet.client, bootstrapTokens)
	waitFor(t, "the password to be stored", func() bool { return len(quiet.deferred.list()) == 0 })
	if kinds, _ := quiet.eventsOf(t, "server-1"); len(kinds) > 0 {
		t.Errorf("there are Events %q of a start like any other", kinds)
	}
}

// TestEventOfDuplicate tells of the copy of a disk.
func TestEventOfDuplicate(t *testing.T) {
	s := newTestServer(t)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	addNode(t, s, "agent-1")
	s.agentOf(t, "agent-1", "boot-1")
	header := map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1", api.HeaderBootID: "boot-2"}
	if resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr); resp.StatusCode != 409 {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	if texts := s.waitEvents(t, "agent-1", "Warning DuplicateNode"); !strings.Contains(texts, "is its disk a copy?") {
		t.Errorf("it says %q", texts)
	}
}
