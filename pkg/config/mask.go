package config

import (
	"net/url"
	"regexp"
	"strings"
)

// How values that may contain a secret are shown. Each function shows only what is known to be harmless.

const masked = "***"

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return masked
}

// maskURL shows the scheme and host of an address, the names of its parameters, and its path if each part of it is
// harmless. harmless is nil if the path of such addresses usually is a secret.
func maskURL(text string, harmless *regexp.Regexp) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return mask(text)
	}
	out := u.Scheme + "://"
	if u.User != nil {
		out += masked + "@"
	}
	out += u.Host + maskPath(u.Path, harmless)
	if u.RawQuery == "" {
		return out
	}
	var parts []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, given := strings.Cut(part, "=")
		if !given {
			name = masked // it may be a secret without a name
		} else {
			name += "=" + masked
		}
		parts = append(parts, name)
	}
	return out + "?" + strings.Join(parts, "&")
}

func maskPath(path string, harmless *regexp.Regexp) string {
	if strings.Trim(path, "/") == "" {
		return path
	}
	for part := range strings.SplitSeq(path, "/") {
		if harmless == nil || !harmless.MatchString(part) {
			return "/" + masked
		}
	}
	return path
}

// maskEnv shows the names of variables.
func maskEnv(env []string) []string {
	out := make([]string, len(env))
	for i, v := range env {
		name, _, set := strings.Cut(v, "=")
		if out[i] = name; set {
			out[i] += "=" + masked
		}
	}
	return out
}

// maskCommand shows the program, the names of options, and arguments that are words, paths of words or short numbers.
// The value of an option with a name like that of a secret is masked.
func maskCommand(argv []string) []string {
	var (
		option = regexp.MustCompile(`^--?[A-Za-z][A-Za-z0-9_-]*$`)
		secret = regexp.MustCompile(`(?i)token|key|secret|pass|auth|cred|cookie|session|sign`)
		plain  = regexp.MustCompile(`^([A-Za-z_./-]{0,60}|[0-9]{1,6})$`)
	)
	out := make([]string, len(argv))
	before := "" // the option whose value the argument may be
	for i, arg := range argv {
		name, value, joined := strings.Cut(arg, "=")
		switch {
		case i == 0:
			out[i] = arg
		case option.MatchString(arg):
			out[i], before = arg, arg
			continue
		case joined && option.MatchString(name):
			if secret.MatchString(name) || !plain.MatchString(value) {
				value = masked
			}
			out[i] = name + "=" + value
		case secret.MatchString(before) || !plain.MatchString(arg):
			out[i] = masked
		default:
			out[i] = arg
		}
		before = ""
	}
	return out
}
