// SPDX-License-Identifier: Apache-2.0

package argument

import "strconv"

// Verbose adds how much a component tells to its arguments: v of klog, and vmodule
// for single files.
func Verbose(args map[string]string, v int, vmodule string) map[string]string {
	if v > 0 {
		args["v"] = strconv.Itoa(v)
	}
	if vmodule != "" {
		args["vmodule"] = vmodule
	}
	return args
}
