// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skerry-os/skerry/image/components/versions"
)

const (
	top          = "../.."
	packagedPath = "overlay/usr/share/skerry/manifests"
)

var overlayVars = map[string]string{
	"CLUSTER_DNS": "10.43.0.10", "CLUSTER_DOMAIN": "cluster.local",
	"CLUSTER_DNS_LIST": `["10.43.0.10", "fd00:43::a"]`, "CLUSTER_DNS_IPFAMILYPOLICY": "RequireDualStack",
	"DEFAULT_LOCAL_STORAGE_PATH": "/var/lib/rancher/k3s/storage",
}

// overlay returns the packaged manifests as they are applied, strictly decoded:
// a misspelt field is an error here, where an apiserver may only warn.
func overlay(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiregistration.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(kinds); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer()
	manifests, err := walk([]Source{{Dir: filepath.Join(top, packagedPath), Template: true}}, func(subject, text string) {
		t.Errorf("%s: %s", subject, text)
	})
	if err != nil || len(manifests) == 0 {
		t.Fatalf("%d packaged manifests, %v", len(manifests), err)
	}
	files := map[string][]runtime.Object{}
	for _, m := range manifests {
		objects, err := m.objects(overlayVars)
		if err != nil {
			t.Fatalf("%s: %v", m.file, err)
		}
		for n, object := range objects {
			data, err := object.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			typed, _, err := decoder.Decode(data, nil, nil)
			if err != nil {
				t.Errorf("%s: %v", subject(m.file, n, object), err)
				continue
			}
			files[m.path] = append(files[m.path], typed)
		}
	}
	return files
}

func TestOverlayDecodes(t *testing.T) {
	for name, objects := range overlay(t) {
		t.Logf("%s: %d objects", name, len(objects))
	}
}

// podSpecs returns the pod templates, and the pods inside ConfigMaps.
func podSpecs(t *testing.T, files map[string][]runtime.Object) map[string]*corev1.PodSpec {
	t.Helper()
	specs := map[string]*corev1.PodSpec{}
	for file, objects := range files {
		for _, object := range objects {
			switch object := object.(type) {
			case *appsv1.Deployment:
				specs[file+" "+object.Name] = &object.Spec.Template.Spec
			case *corev1.ConfigMap:
				if data, ok := object.Data["helperPod.yaml"]; ok {
					pod, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(data), nil, nil)
					if err != nil {
						t.Fatalf("%s: helperPod.yaml: %v", file, err)
					}
					specs[file+" helper pod"] = &pod.(*corev1.Pod).Spec
				}
			}
		}
	}
	return specs
}

// The tags in manifests can't be variables for those who read them, so they
// are compared instead.
func TestOverlayImagesAreThePinnedOnes(t *testing.T) {
	set, err := versions.Read(filepath.Join(top, versions.File))
	if err != nil {
		t.Fatal(err)
	}
	pinned := []string{
		"skerry.local/coredns:" + set["COREDNS_VERSION"],
		"skerry.local/local-path-provisioner:" + set["LOCAL_PATH_VERSION"],
		"skerry.local/metrics-server:" + set["METRICS_SERVER_VERSION"],
		"skerry.local/busybox:" + set["BUSYBOX_VERSION"],
	}
	seen := 0
	for name, spec := range podSpecs(t, overlay(t)) {
		for _, container := range spec.Containers {
			seen++
			if !slices.Contains(pinned, container.Image) {
				t.Errorf("%s: image %s is none of %s", name, container.Image, strings.Join(pinned, ", "))
			}
			if container.ImagePullPolicy != corev1.PullIfNotPresent {
				t.Errorf("%s: a node without a registry can't start it: imagePullPolicy %q", name, container.ImagePullPolicy)
			}
		}
	}
	if seen != len(pinned) {
		t.Errorf("%d containers, want one for each of %d images", seen, len(pinned))
	}
}

func TestOverlayPodsAreHardened(t *testing.T) {
	for name, spec := range podSpecs(t, overlay(t)) {
		helper := strings.HasSuffix(name, "helper pod")
		pod := spec.SecurityContext
		if pod == nil || pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: no seccomp profile", name)
		}
		if !helper && (pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot) {
			t.Errorf("%s: may run as root", name)
		}
		for _, container := range spec.Containers {
			c := container.SecurityContext
			if c == nil || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem ||
				c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation ||
				c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: securityContext %+v", name, c)
			}
			if !helper && container.Resources.Requests.Memory().IsZero() {
				t.Errorf("%s: no memory request", name)
			}
		}
		tolerates := slices.ContainsFunc(spec.Tolerations, func(t corev1.Toleration) bool {
			return t.Key == "node-role.kubernetes.io/control-plane" && t.Operator == corev1.TolerationOpExists
		})
		if !helper && !tolerates { // the provisioner lets helpers run anywhere
			t.Errorf("%s: can't run on a control-plane node", name)
		}
	}
}

// A variable that only a manifest knows would stop it from being applied.
func TestOverlayVariablesAreK3s(t *testing.T) {
	manifests, err := walk([]Source{{Dir: filepath.Join(top, packagedPath)}}, func(string, string) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		for _, match := range regexp.MustCompile(`%\{(.*?)\}%`).FindAllSubmatch(m.content, -1) {
			if _, ok := overlayVars[string(match[1])]; !ok {
				t.Errorf("%s uses %s", m.file, match[0])
			}
		}
	}
}
