// SPDX-License-Identifier: Apache-2.0

// Command skerry is the node daemon and the command line of a Skerry machine.
package main

import (
	"os"

	"github.com/skerry-os/skerry/daemon/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, os.Stdout, os.Stderr))
}
