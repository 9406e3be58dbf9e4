// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/version"
)

// dialogue asks a person at a terminal where to install to.
type dialogue struct {
	*installation
	in  *bufio.Reader
	out io.Writer
}

func newDialogue(n *installation, in io.Reader, out io.Writer) *dialogue {
	return &dialogue{installation: n, in: bufio.NewReader(in), out: out}
}

// errDeclined says that somebody has thought better of it.
var errDeclined = errors.New("nothing was installed")

// run asks until something is installed. At a console it begins anew after what went wrong; elsewhere that ends it.
func (d *dialogue) run(ctx context.Context, document *source.Document, section *configschema.Storage) error {
	for {
		err := d.once(ctx, document, section)
		if err == nil || !d.console || errors.Is(err, io.EOF) || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(d.out, "\n%v\n", err)
	}
}

func (d *dialogue) once(ctx context.Context, document *source.Document, section *configschema.Storage) error {
	if d.console {
		if _, err := d.ask(fmt.Sprintf("\nSkerry %s, live system. Press Enter to install it to a disk.\n", version.Skerry)); err != nil {
			return err
		}
	}
	disk, wipe, err := d.choose(ctx)
	if err != nil {
		return err
	}
	if document == nil {
		fmt.Fprintln(d.out, "There is no cloud-config here: the installed machine looks for one when it boots.")
	} else {
		fmt.Fprintln(d.out, "The installed machine gets the cloud-config of "+document.Name+".")
	}
	if err := d.confirm(disk); err != nil {
		return err
	}
	if err := d.install(ctx, disk, wipe, document, section); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nSkerry %s is installed on %s.\n", version.Skerry, disk.Path)
	after := d.after
	if after == "" {
		if _, err := d.ask("Take the medium out, and press Enter to reboot: "); err != nil {
			return err
		}
		after = afterReboot
	}
	return d.leave(ctx, after)
}

// choose shows the disks, and asks for one that can be used.
func (d *dialogue) choose(ctx context.Context) (disk install.Disk, wipe bool, err error) {
	for {
		disks, err := d.disks(ctx)
		if err != nil {
			return disk, false, err
		}
		if len(disks) == 0 {
			fmt.Fprintln(d.out, "There are no disks.")
		} else {
			fmt.Fprintln(d.out, install.Table(disks))
		}
		name, err := d.ask("\nInstall to which disk? (its name; Enter looks again, q ends) ")
		if err != nil {
			return disk, false, err
		}
		switch name {
		case "":
			continue
		case "q":
			return disk, false, errDeclined
		}
		disk, err := install.Find(disks, name)
		if err != nil {
			fmt.Fprintf(d.out, "There is no disk named %q.\n", name)
			continue
		}
		if disk.Unusable != "" {
			fmt.Fprintf(d.out, "%s can't be used: %s.\n", disk.Path, disk.Unusable)
			continue
		}
		return disk, disk.Contents != "", nil
	}
}

// confirm asks once more: for the name where something would be lost, which nobody types by mistake.
func (d *dialogue) confirm(disk install.Disk) error {
	if disk.Contents == "" {
		answer, err := d.ask(fmt.Sprintf("Install to %s, %s, which is empty? (yes or no) ", disk.Path, install.Size(disk.Bytes)))
		if err == nil && !strings.EqualFold(answer, "yes") && !strings.EqualFold(answer, "y") {
			err = errDeclined
		}
		return err
	}
	what := disk.Contents
	if disk.Installed {
		what = "Skerry, with all that its node has kept: " + what
	}
	answer, err := d.ask(fmt.Sprintf("%s holds %s.\nALL OF IT WILL BE LOST. To go on, type the name of the disk (%s): ", disk.Path, what, disk.Name))
	if err == nil && answer != disk.Name && answer != disk.Path {
		err = errDeclined
	}
	return err
}

// ask returns what is typed in answer to a question. The end of the input is an error.
func (d *dialogue) ask(question string) (string, error) {
	fmt.Fprint(d.out, question)
	line, err := d.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read an answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}
