// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSigner(t *testing.T) {
	good := image("ABCD", "")
	change := func(f func(data []byte)) []byte {
		data := append([]byte(nil), good...)
		f(data)
		return data
	}
	for name, test := range map[string]struct {
		data []byte
		want string
		says string
	}{
		"signed":         {good, "abcd", ""},
		"empty":          {nil, "", "no disk image"},
		"no partition":   {change(func(d []byte) { d[2*sector+128] = 0 }), "", "no partition with a signature"},
		"table far away": {change(func(d []byte) { binary.LittleEndian.PutUint64(d[sector+72:], 1<<60) }), "", "damaged"},
		"table cut off":  {good[:2*sector+64], "", "cut off"},
		"entries":        {change(func(d []byte) { binary.LittleEndian.PutUint32(d[sector+80:], 1<<30) }), "", "damaged"},
		"entry size":     {change(func(d []byte) { binary.LittleEndian.PutUint32(d[sector+84:], 1) }), "", "damaged"},
		"backwards":      {change(func(d []byte) { binary.LittleEndian.PutUint64(d[2*sector+128+40:], 3) }), "", "damaged"},
		"no JSON":        {change(func(d []byte) { d[30*sector] = 'x' }), "", "is none"},
		"cut off":        {good[:20*sector], "", "is none"},
	} {
		file := filepath.Join(t.TempDir(), "x.raw")
		if err := os.WriteFile(file, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := signer(file)
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %q, %v, want %q, %q", name, got, err, test.want, test.says)
		}
	}
}

func FuzzSigner(f *testing.F) {
	f.Add(image("ab", ""))
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "x.raw")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if by, err := signer(file); err == nil && by == "" {
			t.Error("nobody has signed it")
		}
	})
}
