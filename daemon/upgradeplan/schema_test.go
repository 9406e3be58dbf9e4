// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

const (
	manifest = "../../overlay/usr/share/skerry/manifests/upgradeplans.yaml"
	page     = "../../docs/upgrade-plans.md"
)

// resource is the packaged definition.
func resource(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

func internal(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	kinds := runtime.NewScheme()
	apiextensionsinstall.Install(kinds)
	crd := resource(t)
	kinds.Default(crd)
	out := &apiextensions.CustomResourceDefinition{}
	if err := kinds.Convert(crd, out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDefinition has kube-apiserver's own validation read it: structure, defaults, rules and their cost.
func TestDefinition(t *testing.T) {
	crd := internal(t)
	crd.Status.StoredVersions = []string{Resource.Version}
	if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(), crd); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	if crd.Spec.Group != Resource.Group || crd.Spec.Names.Plural != Resource.Resource || crd.Spec.Names.Kind != Kind {
		t.Errorf("it defines %s of %s, %s", crd.Spec.Names.Plural, crd.Spec.Group, crd.Spec.Names.Kind)
	}
}

// TestTypes holds that the Go types have what the definition has, and nothing else: what it doesn't know, kube-apiserver
// drops.
func TestTypes(t *testing.T) {
	top := resource(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	compare(t, "spec", top.Properties["spec"], reflect.TypeFor[Spec]())
	compare(t, "status", top.Properties["status"], reflect.TypeFor[Status]())
}

// opaque are types of Kubernetes' own.
var opaque = []reflect.Type{reflect.TypeFor[metav1.LabelSelector](), reflect.TypeFor[metav1.Duration](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.Condition]()}

func compare(t *testing.T, path string, have apiextensionsv1.JSONSchemaProps, want reflect.Type) {
	t.Helper()
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	for _, o := range opaque {
		if want == o {
			return
		}
	}
	switch want.Kind() {
	case reflect.Slice:
		if have.Type != "array" {
			t.Errorf("%s is %s in the definition", path, have.Type)
			return
		}
		compare(t, path+"[]", *have.Items.Schema, want.Elem())
	case reflect.Struct:
		fields := map[string]bool{}
		for field := range want.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields[name] = true
			property, ok := have.Properties[name]
			if !ok {
				t.Errorf("%s.%s is not in the definition", path, name)
				continue
			}
			compare(t, path+"."+name, property, field.Type)
		}
		for name := range have.Properties {
			if !fields[name] {
				t.Errorf("%s.%s is in the definition only", path, name)
			}
		}
	default:
		types := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer"}
		if have.Type != types[want.Kind()] {
			t.Errorf("%s is %s in the definition, and %s here", path, have.Type, want)
		}
	}
}

// admit does what kube-apiserver does with a plan.
func admit(t *testing.T, text string) (*UpgradePlan, error) {
	t.Helper()
	crd := internal(t)
	version := crd.Spec.Versions[0]
	props := crd.Spec.Validation
	if version.Schema != nil {
		props = version.Schema
	}
	structural, err := structuralschema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		return nil, err
	}
	unknown := pruning.PruneWithOptions(object, structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return nil, &unknownError{unknown}
	}
	defaulting.Default(object, structural)
	if errs := validation.ValidateCustomResource(nil, object, validator); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	plan := &UpgradePlan{}
	return plan, runtime.DefaultUnstructuredConverter.FromUnstructured(object, plan)
}

type unknownError struct{ paths []string }

func (e *unknownError) Error() string { return "unknown: " + strings.Join(e.paths, ", ") }

func TestDefaults(t *testing.T) {
	plan, err := admit(t, "apiVersion: upgrade.skerry.io/v1alpha1\nkind: UpgradePlan\nmetadata: {name: p}\nspec: {version: 0.2.0, source: https://x/, windows: [{days: [Sat]}]}\n")
	if err != nil {
		t.Fatal(err)
	}
	s := plan.Spec
	if s.Concurrency != 1 || s.Attempt != 1 || s.Drain.Timeout.Duration != defaultDrainTimeout || s.NodeTimeout.Duration != defaultNodeTimeout {
		t.Errorf("the defaults are %+v", s)
	}
	if w := s.Windows[0]; w.TimeZone != "UTC" || w.From != "00:00" || w.To != "00:00" {
		t.Errorf("the default window is %+v", w)
	}
}

func TestRefusedPlans(t *testing.T) {
	const good = "apiVersion: upgrade.skerry.io/v1alpha1\nkind: UpgradePlan\nmetadata: {name: p}\nspec:\n  version: 0.2.0\n  source: https://x/\n"
	for _, source := range []string{"https://x/", "oci://registry.example.org/skerry:0.2.0", "'disk:'", "/payload"} {
		if _, err := admit(t, strings.Replace(good, "https://x/", source, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"spec.version":        strings.Replace(good, "0.2.0", "'0.2 0'", 1),
		"spec.source":         strings.Replace(good, "https://x/", "ftp://x/", 1),
		"spec.key":            good + "  key: RWQ\n",
		"spec.concurrency":    good + "  concurrency: 0\n",
		"spec.attempt":        good + "  attempt: 0\n",
		"spec.nodeTimeout":    good + "  nodeTimeout: soon\n",
		"spec.drain.timeout":  good + "  drain: {timeout: '-1h'}\n",
		"spec.windows[0].day": good + "  windows: [{days: [Caturday]}]\n",
		"spec.windows[0].fro": good + "  windows: [{from: '24:00'}]\n",
		"spec.waves[0].selec": good + "  waves: [{name: a}]\n",
	} {
		if _, err := admit(t, text); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPage holds that the examples of the page are plans.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no example", page)
	}
	for _, block := range blocks {
		plan, err := admit(t, block[1])
		if err == nil {
			err = plan.Spec.validate()
		}
		if err != nil {
			t.Errorf("%v:\n%s", err, block[1])
		}
		if plan != nil && plan.GroupVersionKind() != (schema.GroupVersionKind{Group: Resource.Group, Version: Resource.Version, Kind: Kind}) {
			t.Errorf("it is a %s", plan.GroupVersionKind())
		}
	}
}
