// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const (
	plain  = "#cloud-config\nhostname: a\n"
	script = "#!/bin/sh\necho hello\n"
)

func packed(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// message builds a multipart message of parts that have their own headers.
func message(parts ...string) string {
	text := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"XX\"\n\npreamble\n"
	for _, part := range parts {
		text += "--XX\n" + part + "\n"
	}
	return text + "--XX--\n"
}

// web is a fetcher of texts by URL.
type web map[string]string

func (w web) Fetch(_ context.Context, url, _ string) ([]byte, error) {
	text, ok := w[url]
	if !ok {
		return nil, errors.New("404 Not Found")
	}
	return []byte(text), nil
}

var instance = Instance{LocalHostname: "node-7", InstanceID: "i-1", CloudName: "nocloud", MetaData: map[string]any{
	"instance-id": "i-1", "rack": 4, "labels": []any{"x", map[string]any{"a-b": "c"}},
}}

// shown is a part as the tables have it.
func shown(p Part) string {
	return fmt.Sprintf("%s | %s | %+d | %s", p.Name, p.Kind, p.Offset, p.Data)
}

func TestExpand(t *testing.T) {
	site := web{"https://h/a": plain, "https://h/b?secret=1": script, "https://user:pw@h/c": "#include\nhttps://h/a\n", "https://h/gz": packed(t, plain)}
	for _, test := range []struct {
		name string
		give string
		want []string
	}{
		{"cloud-config", plain, []string{"user-data | cloud-config | +0 | " + plain}},
		{"empty", "", []string{"user-data | cloud-config | +0 | "}},
		{"what is nothing known is for the schema to refuse", "hostname: a\n", []string{"user-data | cloud-config | +0 | hostname: a\n"}},
		{"a key that looks like a mail header", "hostname: a\nusers: []\n\nx: y", []string{"user-data | cloud-config | +0 | hostname: a\nusers: []\n\nx: y"}},
		{"gzip", packed(t, plain), []string{"user-data | cloud-config | +0 | " + plain}},
		{"gzip in gzip", packed(t, packed(t, plain)), []string{"user-data | cloud-config | +0 | " + plain}},
		{"base64", encoded(plain) + "\n", []string{"user-data | cloud-config | +0 | " + plain}},
		{"base64 in lines of gzip", encoded(packed(t, plain))[:10] + "\r\n" + encoded(packed(t, plain))[10:], []string{"user-data | cloud-config | +0 | " + plain}},
		{"base64 of nothing known", encoded("hello!"), []string{"user-data | cloud-config | +0 | " + encoded("hello!")}},
		{"script", script, []string{"user-data | script | +0 | " + script}},
		{"multipart", message(
			"Content-Type: text/cloud-config; charset=\"us-ascii\"\nContent-Disposition: attachment; filename=\"users.yaml\"\n\n"+plain,
			"Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n"+encoded(script),
			"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\nhostname: =61\n",
			"Content-Type: text/cloud-config; name=bare\n\nhostname: a",
			"\n"+plain,
		), []string{
			"user-data part 1 (users.yaml) | cloud-config | +0 | " + plain,
			"user-data part 2 | script | +0 | " + script,
			"user-data part 3 | cloud-config | +0 | " + plain,
			"user-data part 4 (bare) | cloud-config | -1 | #cloud-config\nhostname: a",
			"user-data part 5 | cloud-config | +0 | " + plain,
		}},
		{"multipart in multipart, gzip parts", message(
			"Content-Type: multipart/mixed; boundary=YY\n\n--YY\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n"+encoded(packed(t, plain))+"\n--YY--\n",
			"Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n"+encoded(packed(t, "hostname: a\n")),
		), []string{
			"user-data part 1 part 1 | cloud-config | +0 | " + plain,
			"user-data part 2 | cloud-config | -1 | #cloud-config\nhostname: a\n",
		}},
		{"a message of one part", "From: me\nContent-Type: text/x-shellscript\n\n" + script, []string{"user-data | script | +0 | " + script}},
		{"archive", "#cloud-config-archive\n- |\n  #cloud-config\n  hostname: a\n- type: text/x-shellscript\n  filename: x.sh\n  content: |\n    #!/bin/sh\n    echo hello\n" +
			"- type: text/cloud-config\n  content: \"hostname: a\"\n- content: !!binary " + encoded(packed(t, plain)) + "\n", []string{
			"user-data part 1 | cloud-config | +0 | " + plain,
			"user-data part 2 (x.sh) | script | +0 | " + script,
			"user-data part 3 | cloud-config | -1 | #cloud-config\nhostname: a",
			"user-data part 4 | cloud-config | +0 | " + plain,
		}},
		{"include", "#include\n# a comment\nhttps://h/a\n\nhttps://h/b?secret=1#sha256=" + digestOf(script) + "\nhttps://user:pw@h/c\nhttps://h/gz\n", []string{
			"https://h/a | cloud-config | +0 | " + plain,
			"https://h/b | script | +0 | " + script,
			"https://h/a | cloud-config | +0 | " + plain,
			"https://h/gz | cloud-config | +0 | " + plain,
		}},
		{"include on one line", "#include https://h/a", []string{"https://h/a | cloud-config | +0 | " + plain}},
		{"template", "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n{% if v1.cloud_name == 'nocloud' %}\nfqdn: {{ ds.meta_data.instance_id }}\n{% endif %}\n# {{ ds.meta_data.labels[1]['a-b'] }}{{ v1.region | default('none') }}", []string{
			"user-data | cloud-config | +1 | #cloud-config\nhostname: node-7\nfqdn: i-1\n# cnone"}},
		{"template of an archive", "## template: jinja\n#cloud-config-archive\n{% for l in ['a', 'b'] %}\n- \"#cloud-config\\nhostname: {{ l }}\"\n{% endfor %}", []string{
			"user-data part 1 | cloud-config | +0 | #cloud-config\nhostname: a",
			"user-data part 2 | cloud-config | +0 | #cloud-config\nhostname: b"}},
		{"template by its type", message("Content-Type: text/jinja2\n\n#cloud-config\nhostname: {{ v1.local_hostname }}"), []string{
			"user-data part 1 | cloud-config | +0 | #cloud-config\nhostname: node-7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			parts, err := Expand(t.Context(), Options{Data: []byte(test.give), Fetcher: site, Instance: instance})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range parts {
				got = append(got, shown(p))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	deep := plain
	for range maxDepth + 2 {
		deep = packed(t, deep)
	}
	bomb := packed(t, strings.Repeat("x", configschema.MaxSize+1))
	site := web{"https://h/loop": "#include\nhttps://h/loop\n", "https://h/a": plain}
	for _, test := range []struct{ name, give, want string }{
		{"boot hook", "#cloud-boothook\n", "user-data:1:1: boot hooks are not supported: nothing runs before the configuration is known (say it in the cloud-config, or use a script)"},
		{"part handler", "#part-handler\n", "user-data:1:1: part handlers are not supported: they are Python, which isn't in the image"},
		{"JSON patch", "#cloud-config-jsonp\n", "user-data:1:1: JSON patches are not supported: the order and the rule of merging are fixed (write a cloud-config; a key with + appends to a list)"},
		{"include once", "#include-once\nhttps://h/a\n", "user-data:1:1: #include-once is not supported: what is included is fetched at each boot, and kept for boots without the network (write #include)"},
		{"damaged gzip", "\x1f\x8bxxxxxxxxxxxx", "user-data:1:1: is damaged gzip: gzip: invalid header"},
		{"cut gzip", packed(t, plain)[:20], "user-data:1:1: is damaged gzip: unexpected EOF"},
		{"too large", bomb, "user-data:1:1: is larger than 8 MiB"},
		{"too deep", deep, "user-data:1:1: is wrapped more than 8 times"},
		{"handlers in MIME", message("Content-Type: text/part-handler\n\nx", "Content-Type: text/cloud-boothook\n\nx", "Content-Type: image/png; name=\"a.png\"\n\nx"),
			"user-data part 1:1:1: part handlers are not supported: they are Python, which isn't in the image\n" +
				"user-data part 2:1:1: boot hooks are not supported: nothing runs before the configuration is known (say it in the cloud-config, or use a script)\n" +
				"user-data part 3 (a.png):1:1: parts of type \"image/png\" are not supported (text/cloud-config, text/x-shellscript or text/x-include-url)"},
		{"merge type", message("Content-Type: text/cloud-config\nMerge-Type: list(append)\n\n" + plain),
			"user-data part 1:1:1: the header Merge-Type is not supported: there is one rule of merging (a key with + appends to a list)"},
		{"no last boundary", "Content-Type: multipart/mixed; boundary=XX\n\n--XX\n\n" + plain, "user-data part 1:1:1: not a valid MIME message: unexpected EOF (the last boundary ends with --)"},
		{"no boundary", "Content-Type: multipart/mixed\n\nx", "user-data:1:1: is multipart without a boundary"},
		{"no part", "Content-Type: multipart/mixed; boundary=XX\n\n--XX--\n", "user-data:1:1: is multipart and has no part"},
		{"bad encodings", message("Content-Transfer-Encoding: base64\n\n*", "Content-Transfer-Encoding: x-uue\n\nx"),
			"user-data part 1:1:1: is not base64, as its Content-Transfer-Encoding says\nuser-data part 2:1:1: has an unknown Content-Transfer-Encoding, \"x-uue\""},
		{"script without interpreter", message("Content-Type: text/x-shellscript\n\necho"), "user-data part 1:1:1: the first line of a script must name its interpreter (such as #!/bin/sh)"},
		{"archive that is no list", "#cloud-config-archive\na: b\n", "user-data:1:1: an archive is a list (begin each item with -)"},
		{"archive with bad items", "#cloud-config-archive\n- [a]\n- typ: b\n- type: c\n- content: 1\n- content: a\n  content: b\n",
			"user-data:2:1: an item is a text, or a mapping with type and content\nuser-data:3:1: unknown key \"typ\" (type, filename and content)\n" +
				"user-data:4:1: the key \"content\" is missing\nuser-data:5:1: content must be a string\nuser-data:7:1: duplicate key \"content\""},
		{"archive that isn't YAML", "#cloud-config-archive\n- a\n- 'b\n", "user-data:3:1: not valid YAML: found unexpected end of stream"},
		{"includes that can't be", "#include\nfile:///etc/shadow\nhello\nhttps://h/a#x\nhttps://h/a#sha256=12\n",
			"user-data:2:1: is not an URL (one URL a line, such as https://example.org/users.yaml)\nuser-data:3:1: is not an URL (one URL a line, such as https://example.org/users.yaml)\n" +
				"user-data:4:1: an URL must not have a fragment (a digest is written #sha256=HEX)\nuser-data:5:1: the digest is not 64 hexadecimal digits (sha256sum prints it)"},
		{"wrong digest", "#include\nhttps://h/a#sha256=" + digestOf("x"), "user-data:2:1: what is at https://h/a doesn't have the digest that is given here (it has " + digestOf(plain) + ")"},
		{"include loop", "#include\nhttps://h/loop\n", "https://h/loop:1:1: is wrapped more than 8 times"},
		{"too many includes", "#include\n" + strings.Repeat("https://h/a\n", maxIncludes+1), "user-data:22:1: with this, the user-data includes more than 20 URLs"},
		{"too many parts", "#cloud-config-archive\n" + strings.Repeat("- \"#cloud-config\"\n", maxParts+1), "user-data part 65:1:1: with this, the user-data has more than 64 parts"},
		{"undefined variable", "## template: jinja\n#cloud-config\nhostname: {{ v1.region }}\n", "user-data:3:1: the template can't be evaluated: Unable to evaluate v1.region: attribute 'region' not found"},
		{"undefined name", "## template: jinja\n#cloud-config\n\nhostname: {{ hostname }}\n", "user-data:4:1: the template can't be evaluated: hostname: Unable to evaluate name \"hostname\""},
		{"template with an include", "## template: jinja\n\n{% include '/etc/passwd' %}", "user-data:3:1: not a valid template: "},
		{"template with a function", "## template: jinja\n{{ range(9) }}", "user-data:2:1: the template can't be evaluated: "},
		{"open tag", "## template: jinja\n#cloud-config\na: {{ b\n", "user-data:3:1: the tag is not closed, or longer than 4096 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			parts, err := Expand(t.Context(), Options{Data: []byte(test.give), Fetcher: site, Instance: instance})
			var problems configschema.Problems
			if !errors.As(err, &problems) || parts != nil {
				t.Fatalf("got %v, %d parts", err, len(parts))
			}
			got := problems.Error()
			if strings.HasSuffix(test.want, ": ") {
				got = got[:min(len(got), len(test.want))]
			}
			got, _, _ = strings.Cut(got, " (v1.local_hostname, ")
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestTotalIsBounded: many parts, each of which is allowed, must not fill the
// memory together.
func TestTotalIsBounded(t *testing.T) {
	large := encoded(packed(t, "#cloud-config\n"+strings.Repeat("#", configschema.MaxSize-100)))
	parts := make([]string, 10)
	for i := range parts {
		parts[i] = "Content-Transfer-Encoding: base64\n\n" + large
	}
	_, err := Expand(t.Context(), Options{Data: []byte(message(parts...))})
	if err == nil || !strings.Contains(err.Error(), "unfolds to more than 32 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestFetchFails(t *testing.T) {
	_, err := Expand(t.Context(), Options{Data: []byte("#include\n\nhttps://me:hunter2@h/x?token=hunter2\n"), Fetcher: web{}})
	if want := "include https://h/x (user-data, line 3): 404 Not Found"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWithoutFetcher(t *testing.T) {
	parts, err := Expand(t.Context(), Options{Data: []byte("#include\nhttps://h/x?a=b\n")})
	if err != nil || len(parts) != 1 || parts[0].Kind != Unfetched || parts[0].Name != "https://h/x" {
		t.Errorf("got %+v, %v", parts, err)
	}
}

// TestTemplateMessagesHideTheTemplate: what a template holds may be secret, and
// must not come back in a message.
func TestTemplateMessagesHideTheTemplate(t *testing.T) {
	for _, tail := range []string{"{{ nope }}", "{% if %}", "{% nope %}", "{{ v1 | nope }}", "{{ 'a' + }}"} {
		_, err := Expand(t.Context(), Options{Data: []byte("## template: jinja\n#cloud-config\npassword: hunter2\n" + tail)})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", tail, err)
		}
	}
}

func seeds(f *testing.F) {
	for _, text := range []string{plain, script, packed(f, plain), encoded(plain), message("Content-Type: text/cloud-config\n\n" + plain),
		message("Content-Transfer-Encoding: base64\n\n" + encoded(script)), "#cloud-config-archive\n- a\n- {type: text/jinja2, content: b}\n",
		"#include\nhttps://h/a#sha256=x\n", "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n"} {
		f.Add([]byte(text))
	}
}

func FuzzExpand(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { expandAny(t, data) })
}

func FuzzMIME(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		expandAny(t, append([]byte("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=XX\n\n--XX\n"), data...))
	})
}

func FuzzArchive(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { expandAny(t, append([]byte("#cloud-config-archive\n"), data...)) })
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{ v1.x }}", "{% for a in 'b' %}{{ a }}{% endfor %}", "{# #}", "{% if a is defined %}b{% endif %}", "{{ 'a' | upper }}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { expandAny(t, append([]byte("## template: jinja\n"), data...)) })
}

// expandAny expands what may be anything: either parts come out, or an error
// that is fit to be shown.
func expandAny(t *testing.T, data []byte) {
	parts, err := Expand(t.Context(), Options{Data: data, Fetcher: web{"https://h/a": plain}, Instance: instance})
	if err != nil && parts != nil {
		t.Fatalf("half of it: %v, %v", parts, err)
	}
	var problems configschema.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			if p.File == "" || p.Line < 1 || p.Column < 1 || p.Message == "" || strings.Contains(p.String(), "\n") {
				t.Fatalf("not fit to be shown: %+v", p)
			}
		}
	}
	for _, p := range parts {
		if p.Name == "" || p.Kind == "" || strings.Contains(p.Name, "\n") {
			t.Fatalf("a part without a name or kind: %+v", p)
		}
	}
}
