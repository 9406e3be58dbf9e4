// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// apiserver answers discovery for ConfigMaps and Namespaces, and keeps what is
// applied.
type apiserver struct {
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	queries []string
	changed chan struct{}
}

func newAPIServer(t *testing.T) (*apiserver, *rest.Config) {
	t.Helper()
	a := &apiserver{objects: map[string]map[string]any{}, changed: make(chan struct{}, 100)}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, &rest.Config{Host: server.URL}
}

func (a *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reply := func(code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	status := func(code int, reason metav1.StatusReason) {
		reply(code, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure, Reason: reason, Code: int32(code), Message: string(reason),
		})
	}
	switch r.URL.Path {
	case "/api":
		reply(200, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
		return
	case "/apis":
		reply(200, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
		return
	case "/api/v1":
		reply(200, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1",
			APIResources: []metav1.APIResource{
				{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"get", "patch", "delete"}},
				{Name: "namespaces", Kind: "Namespace", Verbs: metav1.Verbs{"get", "patch", "delete"}},
			},
		})
		return
	}
	object, found := a.objects[r.URL.Path]
	switch r.Method {
	case http.MethodPatch:
		query := r.URL.Query()
		a.queries = append(a.queries, fmt.Sprintf("%s %s force=%s", r.Header.Get("Content-Type"), query.Get("fieldManager"), query.Get("force")))
		body, err := io.ReadAll(r.Body)
		applied := map[string]any{}
		if err != nil || json.Unmarshal(body, &applied) != nil {
			status(http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		metadata := applied["metadata"].(map[string]any)
		metadata["uid"] = "uid-" + r.URL.Path
		metadata["managedFields"] = []any{map[string]any{"manager": r.URL.Query().Get("fieldManager"), "operation": "Apply"}}
		a.objects[r.URL.Path] = applied
		a.changed <- struct{}{}
		reply(200, applied)
	case http.MethodGet:
		if !found {
			status(http.StatusNotFound, metav1.StatusReasonNotFound)
			return
		}
		reply(200, object)
	case http.MethodDelete:
		delete(a.objects, r.URL.Path)
		status(200, "")
	}
}

func (a *apiserver) has(path string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[path] != nil
}

func TestServerSideApply(t *testing.T) {
	server, config := newAPIServer(t)
	target, err := newCluster(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest{content: []byte(configMap("a") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team, namespace: wrong}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: homeless}\n")}
	objects, err := m.objects(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if err := target.apply(t.Context(), object); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"/api/v1/namespaces/ns/configmaps/a", "/api/v1/namespaces/team", "/api/v1/namespaces/default/configmaps/homeless"} {
		if !server.has(path) {
			t.Errorf("%s wasn't applied", path)
		}
	}
	for _, query := range server.queries {
		if query != "application/apply-patch+yaml skerry-addons force=true" {
			t.Errorf("got %s", query)
		}
	}

	m.content = []byte("apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: x}\n")
	unknown, err := m.objects(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.apply(t.Context(), unknown[0]); err == nil || !strings.Contains(err.Error(), "Unknown") {
		t.Errorf("unknown kind: %v", err)
	}
	if removed, err := target.remove(t.Context(), unknown[0]); err != nil || removed {
		t.Errorf("removing an unknown kind: %v, %v", removed, err)
	}
}

func TestRemoveLeavesWhatOthersMade(t *testing.T) {
	server, config := newAPIServer(t)
	target, err := newCluster(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest{content: []byte(configMap("ours") + "---\n" + configMap("theirs") + "---\n" + configMap("absent"))}
	objects, err := m.objects(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.apply(t.Context(), objects[0]); err != nil {
		t.Fatal(err)
	}
	theirs := "/api/v1/namespaces/ns/configmaps/theirs"
	server.objects[theirs] = map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "theirs", "namespace": "ns", "uid": "u", "managedFields": []any{
			map[string]any{"manager": "kubectl", "operation": "Apply"},
			map[string]any{"manager": FieldManager, "operation": "Update"},
		}},
	}
	for n, want := range []bool{true, false, false} {
		if removed, err := target.remove(t.Context(), objects[n]); err != nil || removed != want {
			t.Errorf("%s: removed %v, want %v, error %v", describe(objects[n]), removed, want, err)
		}
	}
	if server.has("/api/v1/namespaces/ns/configmaps/ours") || !server.has(theirs) {
		t.Error("the wrong object was deleted")
	}
}

func TestRunAppliesAndStops(t *testing.T) {
	server, config := newAPIServer(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), configMap("%{NAME}%"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Config:  config,
			Sources: []Source{{Dir: dir, Template: true}, {Dir: filepath.Join(dir, "missing")}},
			Vars:    map[string]string{"NAME": "x"},
			Log:     slog.New(slog.DiscardHandler),
		})
	}()
	select {
	case <-server.changed:
	case err := <-ended:
		t.Fatal("ended early:", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !server.has("/api/v1/namespaces/ns/configmaps/x") {
		t.Error("not applied")
	}
}
