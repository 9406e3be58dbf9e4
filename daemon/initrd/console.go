// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// activeConsoles are those of the kernel, screen and serial line, a name each.
const activeConsoles = "/sys/class/tty/console/active"

// askOnConsoles returns what asks on all consoles at once, and takes the answer of the one where somebody is. What is typed
// is not shown.
func askOnConsoles() func(ctx context.Context, prompt string) (string, error) {
	var opened []*os.File
	lines := make(chan string)
	return func(ctx context.Context, prompt string) (string, error) {
		if opened == nil {
			var err error
			if opened, err = openConsoles(); err != nil {
				return "", err
			}
			// They read on until the process ends: two readers of one console would share what is typed between them.
			for _, console := range opened {
				go readLines(console, lines)
			}
		}
		for _, console := range opened {
			restore, err := hideInput(console)
			if err != nil {
				continue // it isn't a terminal, and shows nothing
			}
			defer restore()
		}
		for _, console := range opened {
			fmt.Fprint(console, prompt) //nolint:errcheck // there is another, or nobody to tell
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case line := <-lines:
			for _, console := range opened {
				fmt.Fprintln(console) //nolint:errcheck // same
			}
			return line, nil
		}
	}
}

func openConsoles() ([]*os.File, error) {
	text, err := os.ReadFile(activeConsoles)
	if err != nil {
		return nil, err
	}
	var consoles []*os.File
	var failed error
	for name := range strings.FieldsSeq(string(text)) {
		console, err := os.OpenFile("/dev/"+name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			failed = errors.Join(failed, err) // a serial line in name only
			continue
		}
		consoles = append(consoles, console)
	}
	if len(consoles) == 0 {
		return nil, errors.Join(errors.New("there is no console to ask on"), failed)
	}
	return consoles, nil
}

func readLines(console *os.File, lines chan<- string) {
	for reader := bufio.NewReader(console); ; {
		line, err := reader.ReadString('\n')
		if err != nil {
			return // nobody is there; another console is, or nobody at all
		}
		lines <- strings.TrimRight(line, "\r\n")
	}
}

// hideInput turns the echo of a terminal off.
func hideInput(console *os.File) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(int(console.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(int(console.Fd()), unix.TCSETSF, &hidden); err != nil {
		return nil, err
	}
	return func() {
		unix.IoctlSetTermios(int(console.Fd()), unix.TCSETS, before) //nolint:errcheck // what is typed next isn't shown, then
	}, nil
}
