// SPDX-License-Identifier: Apache-2.0

package configschema

import "strings"

// checkArg checks the outside of an argument: name, or name=value, or K3s'
// name+=value and name-=value, which add to what is given anyway.
func checkArg(s scope, at, arg string) {
	name, _, hasValue := strings.Cut(arg, "=")
	bare, adds := strings.CutSuffix(name, "+")
	if !adds {
		bare, adds = strings.CutSuffix(name, "-")
	}
	switch {
	case strings.HasPrefix(arg, "-"):
		s.problem(at, quote(name)+" begins with a dash", "write "+strings.TrimLeft(clip(name), "-")+"=…")
	case adds && !hasValue:
		s.problem(at, quote(name)+" adds nothing", "write "+clip(name)+"=…")
	case bare == "" || strings.ContainsAny(bare, "+ \t\n") || strings.HasSuffix(bare, "-"):
		s.problem(at, "is not an argument", "name=value")
	}
}

func (c *Cluster) checkVerbosity(s scope) {
	if s.has("v") && (c.V < 0 || c.V > 10) {
		s.problem(s.at("v"), "must be between 0 and 10", "")
	}
	for pattern := range strings.SplitSeq(c.VModule, ",") {
		file, level, ok := strings.Cut(pattern, "=")
		if c.VModule != "" && (!ok || file == "" || strings.Trim(level, "0123456789") != "" || level == "") {
			s.problem(s.at("vmodule"), quote(pattern)+" is not a file and a number", "such as proxier=4,kubelet=3")
			return
		}
	}
}
