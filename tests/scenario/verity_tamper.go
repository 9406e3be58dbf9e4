// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var verityTamper = Scenario{
	Name:   "verity-tamper",
	Suite:  SuiteTest,
	Shows:  "one flipped byte of the root partition: the machine does not run it, and its console says what is corrupted",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		root, err := rootPartition(t.Image)
		if err != nil {
			return err
		}
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`verity|corrupt|dm-0|I/O error|panic|erofs|sysroot|Failed|FAILED|Dependency|emergency|Control-D`),
			Reason: "the scenario breaks the root file system",
		})
		if err := t.Step("a byte of the superblock", func() error {
			// Read by every mount: the machine cannot come up.
			const superblock = 1024
			m, err := tampered(ctx, t, "superblock", root.Start+superblock)
			if err != nil {
				return err
			}
			defer m.PowerCut()
			line, err := m.WaitConsole(ctx, vm.BootTimeout, corrupted)
			if err != nil {
				return err
			}
			t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
			// A whole machine runs seconds after it has opened its root.
			return neverRuns(ctx, m, line.At+45*time.Second)
		}); err != nil {
			return err
		}
		return t.Step("a random byte", func() error {
			used, err := vm.ErofsSize(t.Image, root)
			if err != nil {
				return err
			}
			offset := t.Rand().Int64N(used)
			t.Note("byte %d of %d", offset, used)
			m, err := tampered(ctx, t, "random", root.Start+offset)
			if err != nil {
				return err
			}
			defer m.PowerCut()
			// Unless the boot itself needs that byte the machine comes up, and stops when it is asked for it.
			if err := vm.Wait(ctx, "a login, or word of the byte", vm.BootTimeout, func(ctx context.Context) error {
				if _, ok := findOnAnyBoot(m, corrupted); ok {
					return nil
				}
				_, err := m.Run(ctx, "true")
				return err
			}); err != nil {
				return err
			}
			if _, ok := findOnAnyBoot(m, corrupted); !ok {
				if out, err := m.Run(ctx, "sudo cat /dev/mapper/root >/dev/null && echo all read"); err == nil {
					return fmt.Errorf("the whole root could be read: %s", out)
				}
			}
			line, err := consoleOfAnyBoot(ctx, m, corrupted)
			if err != nil {
				return err
			}
			t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
			return nil
		})
	},
}

// corrupted is what the kernel says when a block is not what its hash says.
var corrupted = regexp.MustCompile(`device-mapper: verity: .*(corrupted|corruption)|dm-verity device (corrupted|has corrupted)`)

func rootPartition(image string) (vm.Partition, error) {
	all, err := vm.Partitions(image)
	if err != nil {
		return vm.Partition{}, err
	}
	for _, p := range all {
		if p.Type == vm.TypeRoot {
			return p, nil
		}
	}
	return vm.Partition{}, fmt.Errorf("%s has no root partition among %v", image, all)
}

func tampered(ctx context.Context, t *T, name string, offset int64) (*vm.Machine, error) {
	userData, err := t.serverConfig()
	if err != nil {
		return nil, err
	}
	m, err := t.lab.Add(ctx, vm.MachineConfig{Name: name, UserData: userData})
	if err != nil {
		return nil, err
	}
	if err := m.FlipByte(ctx, offset); err != nil {
		return nil, err
	}
	return m, m.PowerOn(ctx)
}

// neverRuns watches that a machine doesn't come to the point where it can be logged in to.
func neverRuns(ctx context.Context, m *vm.Machine, patience time.Duration) error {
	login := regexp.MustCompile(`login:|phase early started`)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		for _, console := range m.Consoles() {
			if line, ok := console.Find(login); ok {
				return fmt.Errorf("it runs: %q", line.Text)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

func consoleOfAnyBoot(ctx context.Context, m *vm.Machine, re *regexp.Regexp) (vm.Line, error) {
	var found vm.Line
	err := vm.Wait(ctx, fmt.Sprintf("%q on a console of %s", re, m.Name()), time.Minute, func(context.Context) error {
		var ok bool
		if found, ok = findOnAnyBoot(m, re); !ok {
			return errors.New("the console ends with " + m.Console().Last().Text)
		}
		return nil
	})
	return found, err
}

func findOnAnyBoot(m *vm.Machine, re *regexp.Regexp) (vm.Line, bool) {
	for _, console := range m.Consoles() {
		if line, ok := console.Find(re); ok {
			return line, true
		}
	}
	return vm.Line{}, false
}
