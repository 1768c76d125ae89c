#!/usr/bin/env bash
# README.md shows tests/install/example.c, which the install tests compile and run: letter for letter. check_readme.sh README EXAMPLE
set -euo pipefail
shown=$(awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$1")
[ -n "$shown" ] || { echo "$1 has no \`\`\`c block"; exit 1; }
diff <(printf '%s\n' "$shown") "$2" && echo "the example is the one that is tested"
