// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
)

// Where a fact isn't known, SPDX wants this said.
const noAssertion = "NOASSERTION"

// toolVersions are keys of image/versions.env of what makes the image and isn't in it, and of the image's own.
var toolVersions = []string{"SKERRY_VERSION", "GO_VERSION", "GOLANGCI_LINT_VERSION"}

// writeSBOM writes what is in the image, in SPDX 2.3, and reads it back.
func (b *build) writeSBOM(to string, m manifest) error {
	when, err := b.time()
	if err != nil {
		return err
	}
	if b.tree == "" {
		return errNoPrograms
	}
	programs, err := findPrograms(b.tree)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Write(makeSBOM(m, programs, when), &text, json.Indent(" "), json.EscapeHTML(false)); err != nil {
		return err
	}
	// No image is without these: where they are missing, a list was not read.
	if err := checkSBOM(text.Bytes(), "systemd", "k8s.io/kubernetes"); err != nil {
		return err
	}
	return os.WriteFile(to, text.Bytes(), 0o644)
}

// An sbom is a document in the making.
type sbom struct {
	doc   *spdx.Document
	known map[common.ElementID]bool
}

// makeSBOM lists the packages of Debian, the components, the programs, and the modules in each program.
func makeSBOM(m manifest, programs []goProgram, when time.Time) *spdx.Document {
	name := "skerry-" + m.Version + "-" + m.Architecture
	s := &sbom{known: map[common.ElementID]bool{}, doc: &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		// A name that no other image has; nothing needs to be there.
		DocumentNamespace: "https://github.com/skerry-os/skerry/sbom/" + name + "-" + m.RootHash,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "skerry-image-build-" + m.Version}},
			Created:  when.UTC().Format(time.RFC3339),
		},
	}}
	image := s.add(&spdx.Package{PackageSPDXIdentifier: "image", PackageName: "skerry", PackageVersion: m.Version,
		PrimaryPackagePurpose: "OPERATING-SYSTEM", PackageComment: "root hash " + m.RootHash})
	s.relate("DOCUMENT", "DESCRIBES", image)
	for _, p := range m.Packages {
		if p.Stripped {
			continue // its files were taken out again
		}
		s.relate(image, "CONTAINS", s.addDebian(p, m.Components["DEBIAN_SUITE"]))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Components)) {
		component, ok := strings.CutSuffix(key, "_VERSION")
		if !ok || slices.Contains(toolVersions, key) {
			continue
		}
		component = strings.ToLower(strings.ReplaceAll(component, "_", "-"))
		s.relate(image, "CONTAINS", s.add(&spdx.Package{PackageSPDXIdentifier: elementID("component", component, m.Components[key]),
			PackageName: component, PackageVersion: m.Components[key]}))
	}
	for _, p := range programs {
		program := s.add(&spdx.Package{PackageSPDXIdentifier: elementID("program", p.path), PackageName: path.Base(p.path),
			PackageFileName: p.path, PrimaryPackagePurpose: "APPLICATION", PackageChecksums: sha256Of(p.sha256)})
		s.relate(image, "CONTAINS", program)
		s.relate(program, "DEPENDS_ON", s.addModule("stdlib", strings.TrimPrefix(p.info.GoVersion, "go")))
		for _, module := range modulesOf(p.info) {
			s.relate(program, "DEPENDS_ON", s.addModule(module.Path, module.Version))
		}
	}
	return s.doc
}

// add adds a package once, and returns its id.
func (s *sbom) add(p *spdx.Package) common.ElementID {
	id := p.PackageSPDXIdentifier
	if s.known[id] {
		return id
	}
	s.known[id] = true
	p.PackageDownloadLocation, p.PackageLicenseConcluded = noAssertion, noAssertion
	p.PackageLicenseDeclared, p.PackageCopyrightText = noAssertion, noAssertion
	p.IsFilesAnalyzedTagPresent = true
	s.doc.Packages = append(s.doc.Packages, p)
	return id
}

func (s *sbom) addDebian(p debPackage, suite string) common.ElementID {
	return s.add(&spdx.Package{PackageSPDXIdentifier: elementID("deb", p.Name, p.Arch, p.Version),
		PackageName: p.Name, PackageVersion: p.Version, PackageChecksums: sha256Of(p.SHA256), // none of GRUB's, which isn't locked
		PackageSupplier: &common.Supplier{SupplierType: "Organization", Supplier: "Debian"},
		PackageExternalReferences: purl(fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s",
			url.QueryEscape(p.Name), url.QueryEscape(p.Version), p.Arch, suite))})
}

func (s *sbom) addModule(name, version string) common.ElementID {
	return s.add(&spdx.Package{PackageSPDXIdentifier: elementID("go", name, version), PackageName: name, PackageVersion: version,
		PrimaryPackagePurpose:     "LIBRARY",
		PackageExternalReferences: purl("pkg:golang/" + strings.ToLower(name) + "@" + url.QueryEscape(version))})
}

func (s *sbom) relate(a common.ElementID, how string, b common.ElementID) {
	s.doc.Relationships = append(s.doc.Relationships, &spdx.Relationship{RefA: common.DocElementID{ElementRefID: a},
		RefB: common.DocElementID{ElementRefID: b}, Relationship: how})
}

// modulesOf are the modules that are linked into a program. One that is replaced counts as what it is replaced by. The main
// module has no version of its own where a program of another is built through it: the program itself stands for it.
func modulesOf(info *debug.BuildInfo) []debug.Module {
	var all []debug.Module
	for _, m := range info.Deps {
		if m.Replace != nil && m.Replace.Version != "" {
			m = m.Replace
		}
		all = append(all, debug.Module{Path: m.Path, Version: m.Version})
	}
	return all
}

// notInID is what an id may not have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// elementID makes an id of names. The hash keeps apart what differs in other characters only.
func elementID(kind string, names ...string) common.ElementID {
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return common.ElementID(kind + "-" + notInID.ReplaceAllString(strings.Join(names, "-"), "-") + "-" + hex.EncodeToString(sum[:4]))
}

func sha256Of(sum string) []common.Checksum {
	if sum == "" {
		return nil
	}
	return []common.Checksum{{Algorithm: common.SHA256, Value: sum}}
}

// purl is a package URL, by which scanners for vulnerabilities know a package.
func purl(locator string) []*spdx.PackageExternalReference {
	return []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: "purl", Locator: locator}}
}

// checkSBOM reads a document as anybody would: its references lead somewhere, no id is there twice, and it has packages of
// these names.
func checkSBOM(text []byte, names ...string) error {
	doc, err := json.Read(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		return err
	}
	ids, found := map[common.ElementID]bool{}, map[string]bool{}
	for _, p := range doc.Packages {
		if ids[p.PackageSPDXIdentifier] {
			return fmt.Errorf("two packages have the id %s", p.PackageSPDXIdentifier)
		}
		if p.PackageName == "" || p.PackageVersion == "" && p.PackageFileName == "" {
			return fmt.Errorf("the package with the id %s has no name, or no version", p.PackageSPDXIdentifier)
		}
		ids[p.PackageSPDXIdentifier], found[p.PackageName] = true, true
	}
	for _, name := range names {
		if !found[name] {
			return fmt.Errorf("%s is not in it", name)
		}
	}
	return nil
}
