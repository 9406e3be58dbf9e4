// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Service is a part of Kubernetes whose certificates are rotated together, by the
// name that K3s has for it. Server and Agent are its files below the directories
// server/tls and agent, without their extension.
type Service struct {
	Name          string
	Server, Agent []string
}

// Services are all there are, K3s' contract. A machine need not have each.
var Services = []Service{
	{Name: "admin", Server: []string{"client-admin"}},
	{Name: "api-server", Server: []string{"client-kube-apiserver", "serving-kube-apiserver"}},
	{Name: "auth-proxy", Server: []string{"client-auth-proxy"}},
	{Name: "cloud-controller", Server: []string{"client-k3s-cloud-controller"}},
	{Name: "controller-manager", Server: []string{"client-controller", "kube-controller-manager/kube-controller-manager"}},
	{Name: "etcd", Server: []string{"etcd/client", "etcd/server-client", "etcd/peer-server-client"}},
	{Name: "k3s-controller", Agent: []string{"client-k3s-controller"}},
	{Name: "k3s-server", Server: []string{supervisorLeaf}},
	{Name: "kube-proxy", Agent: []string{"client-kube-proxy"}},
	{Name: "kubelet", Agent: []string{"client-kubelet", "serving-kubelet"}},
	{Name: "scheduler", Server: []string{"client-scheduler", "kube-scheduler/kube-scheduler"}},
	{Name: "supervisor", Server: []string{"client-supervisor"}},
}

// rotationFile names, one a line, the certificates that are to be replaced. It
// outlives the process that is to do it: what was asked for while that didn't
// run, it does when it starts.
const rotationFile = "rotation-requested"

// RequestRotation asks whoever keeps the certificates below dir, server/tls or
// agent, to replace those of these names, and their keys: at once if it runs, or
// when it starts. Until then the old ones are in their places, so that it can
// log in with them.
func RequestRotation(dir string, names []string) error {
	before, err := RequestedRotation(dir)
	if err != nil {
		return err
	}
	all := append(before, names...)
	slices.Sort(all)
	return atomicfile.Write(filepath.Join(dir, rotationFile), []byte(strings.Join(slices.Compact(all), "\n")+"\n"), keyMode)
}

// RequestedRotation returns the names that RequestRotation was given and nobody
// has dealt with.
func RequestedRotation(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, rotationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which certificates to rotate: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// EndRotation says that certificates of these names were replaced. A request that
// came since stays.
func EndRotation(dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	now, err := RequestedRotation(dir)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(now, func(name string) bool { return slices.Contains(names, name) })
	if len(left) == 0 {
		return atomicfile.Remove(filepath.Join(dir, rotationFile))
	}
	return atomicfile.Write(filepath.Join(dir, rotationFile), []byte(strings.Join(left, "\n")+"\n"), keyMode)
}

// Backup copies the certificates and keys of a server directory and of an agent
// directory (K3s' /var/lib/rancher/k3s/server and /agent) to a new directory,
// whose name it returns: tls-<unix time> in the server's, or in the agent's where
// there is no server, as K3s does. An agent directory of no name is left out.
func Backup(server, agent string, now time.Time) (string, error) {
	parent, tls := agent, filepath.Join(server, "tls")
	if _, err := os.Stat(tls); err == nil {
		parent = server
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("back up certificates: %w", err)
	}
	var dir string
	for second := now.Unix(); ; second++ { // one of this second is not overwritten
		dir = filepath.Join(parent, fmt.Sprintf("tls-%d", second))
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", fmt.Errorf("back up certificates: %w", err)
		}
	}
	// Under its name it is complete.
	incomplete := dir + ".incomplete"
	if err := os.RemoveAll(incomplete); err != nil {
		return "", fmt.Errorf("back up certificates: %w", err)
	}
	copies := [][2]string{{tls, "*"}, {tls, "*/*"}}
	if agent != "" {
		copies = append(copies, [2]string{agent, "*"})
	}
	for _, c := range copies {
		if err := copyPairs(c[0], c[1], incomplete); err != nil {
			return "", fmt.Errorf("back up certificates: %w", err)
		}
	}
	if err := os.Rename(incomplete, dir); err != nil {
		return "", fmt.Errorf("back up certificates: %w", err)
	}
	return dir, nil
}

// copyPairs copies certificates and keys that match a pattern below a directory,
// but for those that are there already: a server's node has copies of the
// authorities.
func copyPairs(from, pattern, to string) error {
	files, err := filepath.Glob(filepath.Join(from, pattern))
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if ext := filepath.Ext(file); !info.Mode().IsRegular() || ext != ".crt" && ext != ".key" {
			continue
		}
		name, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if _, err := os.Stat(target); err == nil {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), dirMode); err != nil {
			return err
		}
		if err := atomicfile.Write(target, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
