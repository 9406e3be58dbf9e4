// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"maps"
	"path"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Reference says where a secret is kept that isn't in the file itself.
type Reference struct {
	// Absolute path of a file whose content is the secret, without the line
	// break at its end. It is read before anything is applied: it must be there
	// from an earlier boot, below /etc/rancher, /state or /var.
	File string `yaml:"file"`
	// Name of a credential that systemd was given for the machine, by its
	// firmware or hypervisor: it begins with "skerry.".
	Credential string `yaml:"credential"`
}

// CredentialPrefix begins the names of the credentials that are passed on to
// the daemon.
const CredentialPrefix = "skerry."

var credentialName = regexp.MustCompile(`^skerry\.[A-Za-z0-9._-]{1,200}$`)

// The marks of a reference in a Secret. No value begins with a zero byte.
const (
	fileMark       = "\x00file="
	credentialMark = "\x00credential="
)

// Reference returns where the secret is to be read from, and false when it has
// its value.
func (s Secret) Reference() (Reference, bool) {
	if name, ok := strings.CutPrefix(string(s), fileMark); ok {
		return Reference{File: name}, true
	}
	if name, ok := strings.CutPrefix(string(s), credentialMark); ok {
		return Reference{Credential: name}, true
	}
	return Reference{}, false
}

// String returns "file /path" or "credential name".
func (r Reference) String() string {
	if r.File != "" {
		return "file " + r.File
	}
	return "credential " + r.Credential
}

func (r Reference) secret() Secret {
	if r.File != "" {
		return Secret(fileMark + r.File)
	}
	return Secret(credentialMark + r.Credential)
}

// reference decodes {file: …} or {credential: …}.
func (d *decoder) reference(n *yaml.Node, at string) Secret {
	if d.plainSecrets {
		hint := ""
		if d.layers[0].Form == K3sConfig {
			hint = "or use the key of its file, such as token-file"
		}
		d.problem(n, at, "a secret must be written out here", hint)
		return ""
	}
	var r Reference
	before := len(d.problems)
	d.structure(n, at, &r)
	if len(d.problems) > before {
		return ""
	}
	switch {
	case (r.File == "") == (r.Credential == ""):
		d.problem(n, at, "a secret elsewhere has one of the keys file and credential", "")
	case r.File != "" && (!path.IsAbs(r.File) || path.Clean(r.File) != r.File || strings.ContainsAny(r.File, "\n\r\x00")):
		d.problem(n, join(at, "file"), "is not an absolute path in its shortest form", "begin it with /")
	case r.Credential != "" && !credentialName.MatchString(r.Credential):
		d.problem(n, join(at, "credential"), "is not the name of a credential for this system", "it begins with "+CredentialPrefix)
	default:
		return r.secret()
	}
	return ""
}

// secretChecker is a section whose secrets can be wrong. Its checks run when
// the file is parsed, and again once references have been read.
type secretChecker interface{ checkSecrets(s scope) }

// Resolve replaces every secret given by reference with what read returns for
// it, and checks the values as if they had been in the file. Problems name the
// key and the reference, never a value.
func (m *Merged) Resolve(read func(Reference) (string, error)) Problems {
	d := newDecoder(m.layers)
	d.places = maps.Clone(m.places)
	r := resolver{d: d, read: read}
	r.value(reflect.ValueOf(m.Config).Elem(), "")
	return d.sorted()
}

type resolver struct {
	d    *decoder
	read func(Reference) (string, error)
}

func (r *resolver) value(v reflect.Value, at string) {
	if !v.CanInterface() {
		return // a field that isn't read from a file
	}
	if secret, ok := v.Interface().(Secret); ok {
		r.secret(v, secret, at)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			r.value(v.Elem(), at)
		}
	case reflect.Slice:
		named, isNamed := v.Interface().(named)
		for i := range v.Len() {
			item := index(at, i)
			if isNamed {
				item = join(at, named.nameOf(i))
			}
			r.value(v.Index(i), item)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem() // a map's values can't be set in place
			value.Set(v.MapIndex(key))
			r.value(value, join(at, key.String()))
			v.SetMapIndex(key, value)
		}
		r.recheck(v, at)
	case reflect.Struct:
		for i := range v.NumField() {
			switch key := v.Type().Field(i).Tag.Get("yaml"); key {
			case "-":
			case ",inline":
				r.value(v.Field(i), at)
			default:
				child := join(at, key)
				if _, ok := r.d.places[child]; !ok {
					child = at // of a key that may be written in short
				}
				r.value(v.Field(i), child)
			}
		}
		r.recheck(v, at)
	}
}

func (r *resolver) secret(v reflect.Value, secret Secret, at string) {
	reference, ok := secret.Reference()
	if !ok {
		return
	}
	text, err := r.read(reference)
	if err != nil {
		scope{r.d, at}.problem(at, err.Error(), "")
		return
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" || strings.Contains(text, "\x00") {
		scope{r.d, at}.problem(at, reference.String()+" is empty, or not text", "")
		return
	}
	v.SetString(text)
}

func (r *resolver) recheck(v reflect.Value, at string) {
	if checker, ok := v.Addr().Interface().(secretChecker); ok {
		checker.checkSecrets(scope{r.d, at})
	}
}
