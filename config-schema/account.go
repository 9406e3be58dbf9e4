// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Date is a day, written as YYYY-MM-DD.
type Date string

const dateLayout = "2006-01-02"

// Days returns how many days after the first of January 1970 the day is, as
// shadow(5) counts.
func (t Date) Days() int {
	day, err := time.Parse(dateLayout, string(t))
	if err != nil {
		return 0 // not of a file that was accepted
	}
	return int(day.Unix() / (24 * 60 * 60))
}

func (t *Date) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
		d.wrongType(n, path, "a date", false)
		return
	}
	if day, err := time.Parse(dateLayout, n.Value); err != nil || day.Year() < 1971 {
		d.problem(n, path, quote(n.Value)+" is not a date", "such as 2032-09-01")
		return
	}
	*t = Date(n.Value)
}

// Days is a number of days. cloud-init's examples have it in quotes.
type Days int

func (t *Days) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!int" {
		d.wrongType(n, path, "a number of days", false)
		return
	}
	days, err := strconv.Atoi(n.Value)
	if err != nil || days < 0 || days > 99999 {
		d.problem(n, path, quote(n.Value)+" is not a number of days", "from 0 to 99999")
		return
	}
	*t = Days(days)
}

// checkAccount checks what a user is beyond a name and its keys.
func (u *User) checkAccount(s scope) {
	u.checkSecrets(s)
	given := 0
	for _, key := range []string{"passwd", "hashed_passwd", "plain_text_passwd"} {
		if s.has(key) {
			if given++; given > 1 {
				s.problem(s.at(key), "a user has one password", "keep one of passwd, hashed_passwd and plain_text_passwd")
			}
		}
	}
	if u.PrimaryGroup != "" {
		if message, hint := groupProblem(u.PrimaryGroup); message != "" {
			s.problem(s.at("primary_group"), message, hint)
		}
	}
	low, high, hint := MinUID, MaxUID, "leave it out to get a free one"
	if u.System {
		low, high = MinSystemUID, MaxSystemUID
	} else if u.UID != nil && *u.UID >= MinSystemUID && *u.UID <= MaxSystemUID {
		hint = "write system: true for a number from 500 to 799"
	}
	if u.UID != nil && (*u.UID < low || *u.UID > high) {
		s.problem(s.at("uid"), "must be between "+strconv.Itoa(low)+" and "+strconv.Itoa(high), hint)
	}
	if u.HomeDir != "" && s.absolute("homedir", u.HomeDir) {
		u.checkHome(s)
	}
}

// taken are folders that are the system's: a home there would give them to a
// user.
var taken = []string{"/var/lib/rancher", "/var/lib/kubelet", "/var/log"}

func (u *User) checkHome(s scope) {
	home := u.HomeDir
	for _, dir := range taken {
		if below(home, dir) || below(dir, home) {
			s.problem(s.at("homedir"), quote(home)+" belongs to the system", "choose a folder below /home, or one of its own below /var")
			return
		}
	}
	deep := strings.Count(home, "/")
	if strings.HasPrefix(home, "/home/") && deep >= 2 || strings.HasPrefix(home, "/var/") && deep >= 3 {
		if !strings.ContainsAny(home, ":") {
			return
		}
	}
	s.problem(s.at("homedir"), quote(home)+" can't be a home", "choose a folder below /home, or one of its own below /var")
}

func (u *User) checkSecrets(s scope) {
	for key, hash := range map[string]Secret{"passwd": u.Passwd, "hashed_passwd": u.HashedPasswd} {
		if value := hash.Reveal(); value != "" && !passwordHash.MatchString(value) {
			s.problem(s.at(key), "is not a password hash", "`openssl passwd -6` makes one; never put the password itself here")
		}
	}
	checkPlainPassword(s, s.at("plain_text_passwd"), u.PlainTextPasswd.Reveal())
}
