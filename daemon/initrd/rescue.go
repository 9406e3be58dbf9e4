// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// rescuePatience is for reading what failed.
const rescuePatience = 60 * time.Second

// rescue offers a shell to who stands before a machine that can't start, and returns when it is left, or when nobody has
// asked for it. Who can do that can take the disk out, too.
func rescue(ctx context.Context, in io.Reader, out io.Writer, patience time.Duration, shell func() error) error {
	fmt.Fprintf(out, "\nThe machine can't start; what failed is above. It tries again in %d seconds.\n"+
		"Press Enter for a rescue shell.\n", int(patience.Seconds()))
	asked := make(chan error, 1)
	go func() {
		_, err := bufio.NewReaderSize(in, 1).ReadString('\n')
		asked <- err
	}()
	wait := time.NewTimer(patience)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-asked:
			if err != nil {
				asked = nil // nobody is at this console; what failed must still be seen
				continue
			}
			fmt.Fprintln(out, "Disks are in /dev/disk. Leave the shell with exit: the machine starts again.")
			return shell()
		}
	}
}

// consoleShell runs a shell on the program's own terminal.
func consoleShell() error {
	cmd := exec.Command("/usr/bin/sh", "-i")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin", "PS1=rescue# ")
	// How its last command ended is not how the rescue went.
	if err := cmd.Run(); cmd.ProcessState == nil {
		return err
	}
	return nil
}
