// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestConsoleLines(t *testing.T) {
	var file bytes.Buffer
	var followed []string
	c := NewConsole(&file, func(l Line) { followed = append(followed, l.Text) })
	for _, chunk := range []string{
		"\x1b[2J\x1b[01;01HBdsDxe: load", "ing Boot0001\r\n",
		"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mfoo.service\x1b[0m.\r\n\r\n",
		"server-1 login: ",
	} {
		if n, err := c.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("Write returned %d, %v", n, err)
		}
	}
	var got []string
	for _, l := range c.Lines() {
		got = append(got, l.Text)
	}
	want := []string{"BdsDxe: loading Boot0001", "[  OK  ] Started foo.service.", "", "server-1 login:"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("lines are %q, want %q", got, want)
	}
	if fmt.Sprintf("%q", followed) != fmt.Sprintf("%q", want[:3]) {
		t.Errorf("followed lines are %q, want the complete ones", followed)
	}
	if _, ok := c.Find(regexp.MustCompile(`login:$`)); !ok {
		t.Error("the login prompt, which has no newline, was not found")
	}
	if got := c.Last().Text; got != "server-1 login:" {
		t.Errorf("last line is %q", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(file.String()), "\n") {
		if !regexp.MustCompile(`^ *\d+\.\d{3}( |$)`).MatchString(line) {
			t.Errorf("line %q of the file has no time", line)
		}
	}
	if !strings.Contains(file.String(), "login:") {
		t.Error("the unfinished line is missing in the file of a closed console")
	}
}

// readConsole reads a recorded console.
func readConsole(t *testing.T, path string) []Line {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []Line
	for _, text := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		at, rest, _ := strings.Cut(strings.TrimLeft(text, " "), " ")
		seconds, err := strconv.ParseFloat(at, 64)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, text, err)
		}
		lines = append(lines, Line{At: time.Duration(seconds * float64(time.Second)), Text: rest})
	}
	return lines
}

func TestScanRecordedConsoles(t *testing.T) {
	good, err := filepath.Glob("testdata/console/good-*.log")
	if err != nil || len(good) == 0 {
		t.Fatalf("no good consoles: %v", err)
	}
	for _, path := range good {
		if found := Scan(readConsole(t, path)); len(found) > 0 {
			t.Errorf("%s: found %v in a healthy console", path, found)
		}
	}
	for _, kind := range trouble {
		path := filepath.Join("testdata/console", "bad-"+strings.ReplaceAll(kind.what, " ", "-")+".log")
		lines := readConsole(t, path)
		found := Scan(lines)
		if len(found) != 1 || found[0].What != kind.what || found[0].At != 2500*time.Millisecond {
			t.Errorf("%s: found %v, want one %s at 2.5s", path, found, kind.what)
			continue
		}
		expected := Allowance{Re: regexp.MustCompile(regexp.QuoteMeta(found[0].Text)), Reason: "the scenario causes it"}
		if left := Scan(lines, expected); len(left) > 0 {
			t.Errorf("%s: found %v though the scenario expects it", path, left)
		}
	}
}

func TestAllowancesHaveReasons(t *testing.T) {
	for _, a := range allowed {
		if a.Reason == "" {
			t.Errorf("%q is allowed without a reason", a.Re)
		}
		if Scan([]Line{{Text: a.Re.String()}}) == nil && a.Re.MatchString("") {
			t.Errorf("%q allows everything", a.Re)
		}
	}
}

func TestFindingOfHost(t *testing.T) {
	for _, kind := range trouble {
		if got, want := (Finding{What: kind.what}).OfHost(), kind.what == stall && Accelerator() == tcg; got != want {
			t.Errorf("%s: of the host: %t, want %t", kind.what, got, want)
		}
	}
}
