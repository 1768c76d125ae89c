#!/usr/bin/env bash
# A document shows what an example prints, in its ```text block: letter for letter. check_output.sh DOCUMENT PROGRAM
set -euo pipefail
shown=$(awk '/^```text$/ { on = 1; next } /^```$/ { if (on) exit } on' "$1")
[ -n "$shown" ] || { echo "$1 has no \`\`\`text block"; exit 1; }
printed=$("$2") || { echo "$2 failed"; exit 1; }
diff <(printf '%s\n' "$shown") <(printf '%s\n' "$printed") && echo "the output is the one that is shown"
