package config

import (
	"net/url"
	"regexp"
	"strings"
)

// What is shown of values that may hold a secret. Each lets through what is known to be harmless, and nothing else.

const masked = "***"

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return masked
}

// maskURL shows scheme and host of an address, the names of its parameters, and its path if each part of that is harmless;
// nil is for addresses whose path is a secret by custom.
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
			name = masked // it may be all there is
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

// maskCommand shows the program, the names of options, and arguments that are words, paths of words or short numbers, unless
// they are the value of an option that is named like a secret.
func maskCommand(argv []string) []string {
	var (
		option = regexp.MustCompile(`^--?[A-Za-z][A-Za-z0-9_-]*$`)
		secret = regexp.MustCompile(`(?i)token|key|secret|pass|auth|cred|cookie|session|sign`)
		plain  = regexp.MustCompile(`^([A-Za-z_./-]{0,60}|[0-9]{1,6})$`)
	)
	out := make([]string, len(argv))
	before := "" // the option that the argument may be the value of
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
