// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/reset"
)

const (
	// menuPatience is for reading what there is to choose.
	menuPatience = 2 * time.Minute
	// settlePatience is for a partition to show up that was on the disk before.
	settlePatience = 15 * time.Second
)

// choices are what can be typed. Nobody types them by mistake, so that they are their own confirmation.
var choices = []struct {
	typed, loses string
	parts        []reset.Part
}{
	{"erase data", "all below /var: a server's datastore, images, volumes, logs, home folders", []reset.Part{reset.Data}},
	{"erase identity", "machine-id, SSH host keys, node password and node id", []reset.Part{reset.Identity}},
	{"erase config", "what is kept of the cloud-config", []reset.Part{reset.Config}},
	{"erase everything", "all of that, as on a new disk, also where the disk can't be read any more", reset.Parts},
}

// menu asks at the console what to reset, before any partition is looked at. Without an answer the machine starts as it is:
// that this entry of the boot menu was chosen is no proof that somebody is there.
func (r *root) menu(ctx context.Context, in io.Reader, patience time.Duration) error {
	fmt.Fprintln(r.out, "\nReset of this machine. What is to go, for ever?")
	for _, c := range choices {
		fmt.Fprintf(r.out, "  %-17s %s\n", c.typed, c.loses)
	}
	fmt.Fprintf(r.out, "Type one of these and press Enter. With anything else, or without an answer within %d seconds,\n"+
		"the machine starts as it is: ", int(patience.Seconds()))
	answer, err := readLine(ctx, in, patience)
	if err != nil {
		return err
	}
	for _, c := range choices {
		if answer != c.typed {
			continue
		}
		request := &reset.Request{Parts: c.parts, By: "the boot menu"}
		if request.All() {
			fmt.Fprintln(r.out, "skerry-initrd: resetting everything, asked for by the boot menu")
			encryption, err := r.encryptionNow()
			if err != nil {
				return err
			}
			return r.remake(ctx, encryption, stateDefinition, dataDefinition)
		}
		return r.askOnState(ctx, request)
	}
	fmt.Fprintln(r.out, "\nskerry-initrd: nothing is reset")
	return nil
}

// readLine reads a line, and is empty where none comes.
func readLine(ctx context.Context, in io.Reader, patience time.Duration) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		read <- result{line, err}
	}()
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-wait.C:
		return "", nil
	case got := <-read:
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", got.err)
		}
		return strings.TrimSpace(got.line), nil
	}
}

// askOnState leaves the request where skerry-reset.service finds it later in this boot. STATE is mounted in another place
// for that: systemd must not take it for mounted.
func (r *root) askOnState(ctx context.Context, request *reset.Request) error {
	typing := ctx // takes as long as it takes
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if err := r.unlock(typing, "state"); err != nil {
		return err
	}
	if err := waitFor(ctx, r.stateDevice); err != nil {
		return fmt.Errorf("%w: was this machine started before?", err)
	}
	if err := r.check(ctx, r.stateDevice); err != nil {
		return err
	}
	dir := filepath.Join(r.run, "reset-state")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := r.mounter.mount(r.stateDevice, dir, "ext4", stateFlags, ""); err != nil {
		return err
	}
	return errors.Join(reset.Ask(dir, request), r.mounter.unmount(dir))
}
