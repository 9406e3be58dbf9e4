// SPDX-License-Identifier: Apache-2.0

// Command skerry-kube holds what links Kubernetes: the control plane, the node
// and kubectl. `skerry` executes it, so that the daemon and the command line
// stay small; it is not meant to be called by its own name.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"

	"github.com/skerry-os/skerry/daemon/command"
)

// adminKubeconfig is what kubectl uses on a server when nothing else is set.
const adminKubeconfig = "/etc/rancher/k3s/k3s.yaml"

func main() {
	os.Exit(run(os.Args))
}

// run builds only the command asked for: the cobra commands of Kubernetes
// components may be built only once per process, and building is not free.
func run(args []string) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if name != "kubectl" && len(args) > 1 && args[1] == "kubectl" {
		name, args = "kubectl", args[1:]
	}
	if name == "kubectl" {
		return runKubectl(args)
	}
	root := &cobra.Command{
		Use:           "skerry-kube",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "skerry"}, // it is how people call it
		Short:         "The Kubernetes half of skerry; use `skerry control`, `skerry node` or `kubectl`",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(controlCommand(), nodeCommand(), tokenCommand(), snapshotCommand(), datastoreCommand())
	root.SetArgs(args[1:])
	err := root.Execute()
	if err != nil {
		fmt.Fprintln(os.Stderr, "skerry:", err)
	}
	return command.ExitCode(err)
}

func runKubectl(args []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if f, err := os.Open(adminKubeconfig); err == nil {
			f.Close()
			os.Setenv("KUBECONFIG", adminKubeconfig)
		}
	}
	os.Args = args // kubectl looks for plug-ins by it
	return cli.Run(kubectl.NewDefaultKubectlCommand())
}
