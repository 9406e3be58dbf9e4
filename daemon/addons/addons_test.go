// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fakeAPI records what is applied, and refuses what failures names.
type fakeAPI struct {
	applied, removed []string
	failures         map[string]string
}

func (f *fakeAPI) apply(_ context.Context, object *unstructured.Unstructured) error {
	if text := f.failures[describe(object)]; text != "" {
		return errors.New(text)
	}
	f.applied = append(f.applied, describe(object))
	return nil
}

func (f *fakeAPI) remove(_ context.Context, object *unstructured.Unstructured) (bool, error) {
	f.removed = append(f.removed, describe(object))
	return true, nil
}

func (f *fakeAPI) refresh() {}

type fixture struct {
	*controller
	fake           *fakeAPI
	packaged, user string
	log            *bytes.Buffer
}

func newFixture(t *testing.T, disable ...string) *fixture {
	dir := t.TempDir()
	f := &fixture{
		fake:     &fakeAPI{failures: map[string]string{}},
		packaged: filepath.Join(dir, "packaged"),
		user:     filepath.Join(dir, "user"),
		log:      &bytes.Buffer{},
	}
	f.controller = newController(Options{
		Sources: []Source{{Dir: f.packaged, Template: true}, {Dir: f.user}},
		Vars:    map[string]string{"NAME": "expanded"},
		Disable: disable,
		Log:     slog.New(slog.NewTextHandler(f.log, nil)),
	}, f.fake)
	return f
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: ns}\n"
}

// expect runs a pass and compares what it applied.
func (f *fixture) expect(t *testing.T, why string, settled bool, applied ...string) {
	t.Helper()
	f.fake.applied = nil
	if got := f.pass(t.Context()); got != settled {
		t.Errorf("%s: settled %v, want %v\n%s", why, got, settled, f.log)
	}
	if !slices.Equal(f.fake.applied, applied) {
		t.Errorf("%s: applied %q, want %q", why, f.fake.applied, applied)
	}
}

func TestAppliesWhatChanged(t *testing.T) {
	f := newFixture(t)
	a, b := filepath.Join(f.packaged, "a.yaml"), filepath.Join(f.user, "sub", "b.yml")
	write(t, a, configMap("%{NAME}%"))
	write(t, b, configMap("plain")+"---\n# nothing here\n---\n"+configMap("second"))
	f.expect(t, "first", true, "ConfigMap ns/expanded", "ConfigMap ns/plain", "ConfigMap ns/second")
	f.expect(t, "unchanged", true)
	write(t, b, configMap("changed"))
	f.expect(t, "one file changed", true, "ConfigMap ns/changed")
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	f.expect(t, "a file removed", true)
	if len(f.fake.removed) != 0 {
		t.Errorf("removing a file deleted %q", f.fake.removed)
	}
	if got := strings.Count(f.log.String(), "applied manifest"); got != 3 {
		t.Errorf("%d lines for 3 changes:\n%s", got, f.log)
	}
}

func TestNamespacesOfAllFilesComeFirst(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.user, "a.yaml"), configMap("a"))
	write(t, filepath.Join(f.user, "z.yaml"), configMap("z")+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n")
	f.expect(t, "first", true, "Namespace ns", "ConfigMap ns/a", "ConfigMap ns/z")
}

func TestFailureIsRetriedAndSaidOnce(t *testing.T) {
	f := newFixture(t)
	file := filepath.Join(f.user, "a.yaml")
	write(t, file, configMap("good")+"---\n"+configMap("bad")+"---\n"+configMap("last"))
	f.fake.failures["ConfigMap ns/bad"] = "not now"
	f.expect(t, "first", false, "ConfigMap ns/good", "ConfigMap ns/last")
	f.expect(t, "again", false)
	if got := strings.Count(f.log.String(), "not now"); got != 1 {
		t.Errorf("said %d times:\n%s", got, f.log)
	}
	for _, want := range []string{file, "object 2", "ConfigMap ns/bad"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log doesn't name %q:\n%s", want, f.log)
		}
	}
	f.fake.failures["ConfigMap ns/bad"] = "another reason"
	f.expect(t, "another error", false)
	if !strings.Contains(f.log.String(), "another reason") {
		t.Error("a new reason wasn't said")
	}
	delete(f.fake.failures, "ConfigMap ns/bad")
	f.expect(t, "recovered", true, "ConfigMap ns/bad")
	f.expect(t, "settled", true)
}

func TestBadFileDoesNotStopTheOthers(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"no kind":        {"apiVersion: v1\nmetadata: {name: x}\n", "document 1"},
		"no name":        {configMap("x") + "---\napiVersion: v1\nkind: Secret\n", "document 2: Secret has no metadata.name"},
		"no apiVersion":  {"kind: Secret\nmetadata: {name: x}\n", "Secret x has no apiVersion"},
		"not yaml":       {"a: [\n", "document 1"},
		"a list of text": {"- a\n", "document 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bad := filepath.Join(f.user, "a.yaml")
			write(t, bad, test.content)
			write(t, filepath.Join(f.user, "b.yaml"), configMap("b"))
			f.expect(t, "first", false, "ConfigMap ns/b")
			f.expect(t, "again", false)
			if log := f.log.String(); !strings.Contains(log, bad) || !strings.Contains(log, test.want) || strings.Count(log, "level=WARN") != 1 {
				t.Errorf("want one warning with %q:\n%s", test.want, log)
			}
		})
	}
}

func TestUnknownVariable(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.packaged, "a.yaml"), configMap("%{NAMELESS}%"))
	f.expect(t, "packaged", false)
	if !strings.Contains(f.log.String(), "no value for %{NAMELESS}%") {
		t.Errorf("log:\n%s", f.log)
	}
}

func TestUsersFilesAreNotTemplates(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.user, "a.yaml"), configMap(`"%{NAME}%"`))
	f.expect(t, "user", true, "ConfigMap ns/%{NAME}%")
}

func TestWhichFilesAreTaken(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.packaged, "both.yaml"), configMap("packaged"))
	write(t, filepath.Join(f.user, "both.yaml"), configMap("hidden"))
	write(t, filepath.Join(f.packaged, "skipped.yaml"), configMap("skipped"))
	write(t, filepath.Join(f.user, "skipped.yaml.skip"), "")
	write(t, filepath.Join(f.user, ".dot.yaml"), configMap("dot"))
	write(t, filepath.Join(f.user, ".git", "x.yaml"), configMap("dotdir"))
	write(t, filepath.Join(f.user, "d", ".git", "x.yaml"), configMap("dotdir"))
	write(t, filepath.Join(f.user, "README.md"), "text")
	write(t, filepath.Join(f.user, "j.json"), `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"json","namespace":"ns"}}]}`)
	elsewhere := t.TempDir()
	write(t, filepath.Join(elsewhere, "l.yaml"), configMap("linked"))
	if err := os.Symlink(elsewhere, filepath.Join(f.user, "link")); err != nil {
		t.Fatal(err)
	}
	f.expect(t, "first", true, "ConfigMap ns/packaged", "ConfigMap ns/json", "ConfigMap ns/linked")
	if !strings.Contains(f.log.String(), "has the same name") {
		t.Errorf("nothing said about the hidden file:\n%s", f.log)
	}
}

func TestDisabled(t *testing.T) {
	f := newFixture(t, "coredns", "metrics-server")
	write(t, filepath.Join(f.packaged, "coredns.yaml"), configMap("first")+"---\n"+configMap("second"))
	write(t, filepath.Join(f.packaged, "metrics-server", "rbac.yaml"), configMap("nested"))
	write(t, filepath.Join(f.packaged, "corednsx.yaml"), configMap("other"))
	f.expect(t, "first", true, "ConfigMap ns/other")
	if want := []string{"ConfigMap ns/second", "ConfigMap ns/first", "ConfigMap ns/nested"}; !slices.Equal(f.fake.removed, want) {
		t.Errorf("removed %q, want %q", f.fake.removed, want)
	}
	f.fake.removed = nil
	f.expect(t, "again", true)
	if len(f.fake.removed) != 0 {
		t.Errorf("removed again: %q", f.fake.removed)
	}
}

func FuzzObjects(f *testing.F) {
	f.Add([]byte(configMap("a") + "---\n" + configMap("%{NAME}%")))
	f.Add([]byte("kind: List\napiVersion: v1\nitems: [{}]\n"))
	f.Add([]byte("--- \n%{X}%"))
	f.Fuzz(func(t *testing.T, content []byte) {
		m := &manifest{content: content, template: true}
		objects, err := m.objects(map[string]string{"NAME": "x"})
		if err != nil {
			return
		}
		for _, object := range objects {
			if object.GetKind() == "" || object.GetName() == "" || object.GetAPIVersion() == "" {
				t.Errorf("an object without kind, version or name: %v", object)
			}
		}
	})
}

// TestLater: what waits for a node is applied when there is one, and not before.
func TestLater(t *testing.T) {
	f := newFixture(t)
	write(t, filepath.Join(f.packaged, "first.yaml"), configMap("first"))
	write(t, filepath.Join(f.packaged, "second.yaml"), configMap("second"))
	f.Later = []string{"second"}
	node := make(chan error)
	f.Hold = func(context.Context) error { return <-node }
	released := f.hold(t.Context())
	if !f.pass(t.Context()) || len(f.fake.applied) != 1 || !strings.Contains(f.fake.applied[0], "first") {
		t.Errorf("before: %q", f.fake.applied)
	}
	node <- nil
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	f.held = false
	if !f.pass(t.Context()) || len(f.fake.applied) != 2 {
		t.Errorf("after: %q", f.fake.applied)
	}
}
