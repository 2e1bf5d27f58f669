package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/proof"
)

func TestReport(t *testing.T) {
	page, err := render([]proof.Line{
		{Campaign: "storm", Form: "long", Counts: map[string]int64{"kills": 1999, "tasks": 7}, Asked: map[string]int64{"kills": 2000}, Seconds: 61, Seeds: []string{"7"}},
		{Campaign: "flood", Form: "long", Asked: map[string]int64{"waves": 3}, Skipped: "no water"},
		{Campaign: "storm", Form: "long", Counts: map[string]int64{"kills": 1}, Broken: 2, Notes: []string{"interrupted"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| storm | kills | 2,000 | 2,000 | 2 | 61 |", "| flood | waves | 3 | not here | 0 | 0 |", "**Promises broken: 2.**",
		"- `flood`: no water", "- `storm`: 7 tasks", "- `storm` 7", "- `storm`: interrupted", "long form, 1 minutes",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q:\n%s", want, page)
		}
	}
}

// TestCampaignsExist holds the list against the tests that there are.
func TestCampaignsExist(t *testing.T) {
	t.Chdir("../../..")
	for _, c := range campaigns() {
		if c.fuzz {
			continue
		}
		if _, err := regexp.Compile(c.tests); err != nil || c.weight <= 0 || c.parts < 1 {
			t.Errorf("campaign %s: %v", c.name, err)
		}
	}
	found, err := targets()
	if err != nil || len(found) < 5 {
		t.Errorf("found %d fuzz targets, %v", len(found), err)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range []string{"-form night", "-minutes -1", "-report-only", "-only (", "-jobs 0", "-jobs 2 -minutes 3"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s was taken", args)
		}
	}
	if o, err := parse(strings.Fields("-form long -minutes 60 -o x -only model")); err != nil || o.minutes != 60 || !o.only.MatchString("model") {
		t.Errorf("got %+v, %v", o, err)
	}
}
