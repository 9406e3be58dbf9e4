// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/luks"
)

// passphraseFile has, below r.run and as long as the initrd needs it, what was typed at the console.
const passphraseFile = "passphrase"

// partitionPath is where a partition of the disk's layout is, encrypted or not; name is state or data.
func (r *root) partitionPath(name string) string { return filepath.Join(r.partitions, "skerry-"+name) }

// unlock opens a partition if it is encrypted: with the TPM, or else with what is typed at the console, for which it waits
// until somebody comes: a machine that starts again and again helps nobody. It does nothing where the partition is open.
func (r *root) unlock(ctx context.Context, name string) error {
	encrypted, err := luks.Encrypted(r.partitionPath(name))
	if err != nil || !encrypted {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.mappings, "skerry-"+name)); err == nil {
		return nil
	}
	reason, err := r.unlockByTPM(ctx, name)
	if err != nil || reason == "" {
		return err
	}
	// What was typed for STATE opens DATA.
	if _, err := os.Stat(filepath.Join(r.run, passphraseFile)); err == nil {
		if _, err := r.attach(ctx, name, r.partitionPath(name), filepath.Join(r.run, passphraseFile)); err == nil {
			return r.unlocked(luks.Passphrase)
		}
	}
	label := strings.ToUpper(name)
	fmt.Fprintf(r.out, "skerry-initrd: %s is encrypted, and the TPM does not open it: %s\n", label, reason)
	for {
		typed, err := r.ask(ctx, fmt.Sprintf("Passphrase or recovery key of %s (what you type is not shown): ", label))
		if err != nil {
			return fmt.Errorf("ask for the passphrase of %s: %w", label, err)
		}
		if typed == "" {
			continue
		}
		if err := r.keepPassphrase(typed); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "skerry-initrd: opening %s\n", label)
		said, err := r.attach(ctx, name, r.partitionPath(name), filepath.Join(r.run, passphraseFile))
		if err == nil {
			return r.unlocked(luks.Passphrase)
		}
		if err := r.forgetPassphrase(); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "skerry-initrd: that does not open %s: %s\n", label, lastLine(said, err))
	}
}

// unlockByTPM returns why the TPM did not open a partition, or "" if it did.
func (r *root) unlockByTPM(ctx context.Context, name string) (reason string, err error) {
	if _, err := os.Stat(r.tpm); errors.Is(err, fs.ErrNotExist) {
		return "this machine has none", nil
	} else if err != nil {
		return "", err
	}
	said, err := r.attach(ctx, name, r.partitionPath(name), "")
	if err == nil {
		return "", r.unlocked(luks.TPM2)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	fmt.Fprintln(r.out, strings.TrimSpace(said)) // the last line alone is of what was tried after the TPM
	return err.Error(), nil
}

// unlocked remembers how STATE and DATA were opened, for who makes partitions and for who comes after the initrd. A
// passphrase that was needed for one of them stays.
func (r *root) unlocked(by string) error {
	known, err := r.unlockedBy()
	if err != nil || known == luks.Passphrase {
		return err
	}
	if err := os.MkdirAll(r.run, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.run, luks.UnlockedFile), []byte(by+"\n"), 0o644)
}

// unlockedBy is how STATE or DATA was opened in this boot, and empty on a machine that has nothing encrypted.
func (r *root) unlockedBy() (string, error) {
	data, err := os.ReadFile(filepath.Join(r.run, luks.UnlockedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

func (r *root) keepPassphrase(typed string) error {
	if err := os.MkdirAll(r.run, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.run, passphraseFile), []byte(typed), 0o600)
}

func (r *root) forgetPassphrase() error {
	err := os.Remove(filepath.Join(r.run, passphraseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lock closes a partition that is open.
func (r *root) lock(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join(r.mappings, "skerry-"+name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return r.detach(ctx, name)
}

// cryptsetup opens a partition: with a file that has its passphrase, or with the TPM.
func cryptsetup(ctx context.Context, name, device, keyFile string) (said string, err error) {
	options := "luks,headless=true"
	if keyFile == "" {
		keyFile, options = "-", options+",tpm2-device=auto"
	}
	out, err := exec.CommandContext(ctx, "/usr/bin/systemd-cryptsetup", "attach", "skerry-"+name, device, keyFile, options).CombinedOutput()
	return string(out), err
}

func closeMapping(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, "/usr/bin/systemd-cryptsetup", "detach", "skerry-"+name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("close %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lastLine is where systemd-cryptsetup says what went wrong in the end.
func lastLine(said string, err error) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return err.Error()
}

// partition opens what is encrypted, and has systemd-repart make and grow partitions between. DATA is made as STATE is. What
// systemd-repart can't do keeps nobody from DATA.
func (r *root) partition(ctx context.Context) error {
	// Without it nobody knows how DATA is to be made.
	if err := r.settle(ctx, r.partitionPath("state")); err != nil {
		return err
	}
	if err := r.unlock(ctx, "state"); err != nil {
		return err
	}
	encryption, err := r.unlockedBy()
	if err != nil {
		return err
	}
	failed := r.runRepart(ctx, "repart.d", encryption, nil)
	if failed != nil {
		failed = fmt.Errorf("make and grow partitions: %w", failed)
	}
	if err := r.settle(ctx, r.partitionPath("data")); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, r.unlock(ctx, "state"), r.unlock(ctx, "data"))
}

// runRepart runs systemd-repart with the image's definitions, of which STATE and DATA are told how they are encrypted, and
// some to be made anew.
func (r *root) runRepart(ctx context.Context, folder, encryption string, anew []string, args ...string) error {
	more := map[string][]string{}
	for _, name := range anew {
		more[name] = append(more[name], "FactoryReset=yes")
	}
	if encryption != "" {
		options := []string{"Encrypt=tpm2"}
		args = append(args, luks.PCRs)
		if encryption == luks.Passphrase {
			options = []string{"Encrypt=key-file"}
			args = append(args, "--key-file="+filepath.Join(r.run, passphraseFile))
		}
		for _, name := range []string{stateDefinition, dataDefinition} {
			more[name] = append(more[name], options...)
		}
	}
	definitions := filepath.Join(r.run, folder)
	if err := completed(r.path(definitionsDir), definitions, more); err != nil {
		return err
	}
	args = append([]string{"--root=" + r.dir, "--definitions=" + definitions, "--dry-run=no"}, args...)
	out, err := r.repart(ctx, args...)
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
	}
	return nil
}

// completed copies systemd-repart's definitions, some with more lines.
func completed(from, to string, more map[string][]string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	left := len(more)
	for _, e := range entries {
		if e.IsDir() {
			return fmt.Errorf("%s in %s is not a definition", e.Name(), from)
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if lines, ok := more[e.Name()]; ok {
			data = append(data, "\n[Partition]\n"+strings.Join(lines, "\n")+"\n"...)
			left--
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("%s lacks %d of the definitions of STATE and DATA", from, left)
	}
	return nil
}

// udevPatience is as long as systemd waits for a device.
const udevPatience = 90 * time.Second

// settleUdev waits until a link is there, or udev has seen everything and there is none. Another disk that doesn't answer holds
// up only the first boot.
func settleUdev(ctx context.Context, link string) error {
	out, err := exec.CommandContext(ctx, "/usr/bin/udevadm", "settle",
		fmt.Sprintf("--timeout=%d", int(udevPatience.Seconds())), "--exit-if-exists="+link).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wait for udev: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
