// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// File is a file to write. It is written again at each boot, and replaced as a
// whole: a reader sees the old content or the new.
type File struct {
	// Absolute path, in a folder that can be written: /etc (made anew at each
	// boot), /var, /opt, /home, /run or /tmp.
	Path string `yaml:"path" required:"true"`
	// Content of the file.
	Content string `yaml:"content"`
	// How the content is written down: plain text, base64, gzip, or gzip in
	// base64.
	Encoding string `yaml:"encoding" enum:"text/plain,b64,base64,gz,gzip,gz+base64,gzip+base64,gz+b64,gzip+b64"`
	// Owner as "user:group" or "user". The default is root:root.
	Owner string `yaml:"owner"`
	// Mode in octal, in quotes. The default is "0644".
	Permissions *Mode `yaml:"permissions"`
	// Whether the content is added to the end of a file. What the file already
	// holds is not added again.
	Append bool `yaml:"append"`
	// Whether the file is written last, after everything else.
	Defer bool `yaml:"defer"`
}

// maxInflated bounds what gzip may grow to: a small file must not fill memory.
const maxInflated = 64 << 20

// Bytes decodes the content.
func (f *File) Bytes() ([]byte, error) {
	data := []byte(f.Content)
	if strings.HasSuffix(f.Encoding, "b64") || strings.HasSuffix(f.Encoding, "base64") {
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(f.Content), ""))
		if err != nil {
			return nil, errors.New("is not base64")
		}
		data = decoded
	}
	if !strings.HasPrefix(f.Encoding, "gz") {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("is not gzip")
	}
	inflated, err := io.ReadAll(io.LimitReader(reader, maxInflated+1))
	if err != nil {
		return nil, errors.New("is damaged gzip")
	}
	if len(inflated) > maxInflated {
		return nil, fmt.Errorf("is larger than %d MiB when unpacked", maxInflated>>20)
	}
	return inflated, nil
}

// Mode returns the file's permissions, 0644 when none are given.
func (f *File) Mode() Mode {
	if f.Permissions == nil {
		return 0o644
	}
	return *f.Permissions
}

// OwnerNames splits Owner into user and group, root when not given.
func (f *File) OwnerNames() (user, group string) {
	user, group, _ = strings.Cut(f.Owner, ":")
	if user == "" {
		user = "root"
	}
	if group == "" {
		group = user
	}
	return user, group
}

// writable are the folders that can be written on a running machine. All else
// is the verified, read-only root or the kernel's own.
var writable = []string{"/etc", "/var", "/opt", "/home", "/run", "/tmp"}

// rendered are paths whose content has another owner, with what to use instead.
var rendered = []struct{ path, instead string }{
	{"/etc/passwd", "use users:"},
	{"/etc/shadow", "use users:"},
	{"/etc/group", "use users:"},
	{"/etc/gshadow", "use users:"},
	{"/etc/hostname", "use hostname:"},
	{"/etc/machine-id", "it is the machine's identity, made once"},
	{"/etc/rancher/node", "it is the node's identity, made once"},
	{"/etc/ssh/keys", "these are the machine's host keys, made once"},
	{"/etc/ssh/authorized_keys.d", "use ssh_authorized_keys:"},
	{"/etc/rancher/k3s/registries.yaml", "use skerry.registries:"},
	{"/etc/rancher/k3s/registries.d", "use skerry.registries:"},
	{"/etc/ssl/certs/ca-certificates.crt", "use ca_certs:"},
	{"/etc/environment", "use skerry.environment:"},
	{"/etc/localtime", "use timezone:"},
	{"/etc/fstab", "use mounts:"},
	{"/etc/sudoers.d/90-skerry-users", "use sudo: of a user"},
	{"/run/skerry", "the daemon renders it"},
}

var ownerShape = regexp.MustCompile(`^([a-z_][a-z0-9_-]*|[0-9]+)(:([a-z_][a-z0-9_-]*|[0-9]+))?$`)

func (f *File) check(s scope) {
	f.checkPath(s)
	if f.Owner != "" && !ownerShape.MatchString(f.Owner) {
		s.problem(s.at("owner"), quote(f.Owner)+" is not user:group", "")
	}
	if s.has("content") && s.sound("encoding") {
		if _, err := f.Bytes(); err != nil {
			s.problem(s.at("content"), err.Error(), "encoding says "+f.Encoding)
		}
	}
}

func (f *File) checkPath(s scope) {
	if f.Path == "" || !s.absolute("path", f.Path) {
		return
	}
	for _, r := range rendered {
		if below(f.Path, r.path) {
			s.problem(s.at("path"), quote(f.Path)+" is not yours to write", r.instead)
			return
		}
	}
	for _, dir := range writable {
		if f.Path == dir {
			s.problem(s.at("path"), quote(f.Path)+" is a folder", "add the name of a file")
			return
		}
		if below(f.Path, dir) {
			return
		}
	}
	s.problem(s.at("path"), quote(f.Path)+" is on the read-only root", "choose a path below "+strings.Join(writable, ", "))
}

func (*File) unsupported(key string) (message, hint string) {
	if key == "source" {
		return "known cloud-init key, not supported by this release: fetches the content from a URL", "use content"
	}
	return "", ""
}

func below(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}

// absolute reports a path that is relative, not in its shortest form, or holds
// what no file name may hold.
func (s scope) absolute(key, name string) bool {
	at := s.at(key)
	switch {
	case !path.IsAbs(name):
		s.problem(at, quote(name)+" is not an absolute path", "begin it with /")
	case strings.ContainsAny(name, "\x00\n\r"):
		s.problem(at, "must not contain line breaks or zero bytes", "")
	case path.Clean(name) != name:
		s.problem(at, quote(name)+" is not in its shortest form", "write "+path.Clean(name))
	default:
		return true
	}
	return false
}
