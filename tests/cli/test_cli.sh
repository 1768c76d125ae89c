#!/usr/bin/env bash
# End-to-end tests of the command: test_cli.sh BINARY DATA_FOLDER. Exit codes, messages, outputs, JSON, and that nothing is left half done.
set -u
perturb=$1
data=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0 failures=0

fail() {
  failures=$((failures + 1))
  echo "FAILED: $*" >&2
}

# expect CODE 'PATTERN' ARGUMENT...: exit code, and a pattern (grep -E) in stderr, or in stdout where the code is 0
expect() {
  local code=$1 pattern=$2 got
  shift 2
  checks=$((checks + 1))
  "$perturb" "$@" >stdout 2>stderr </dev/null
  got=$?
  [ "$got" -eq "$code" ] || fail "exit code $got, expected $code: perturb $* [$(head -c 300 stderr)]"
  if [ "$code" -eq 0 ]; then
    grep -qE -- "$pattern" stdout || fail "no '$pattern' on stdout: perturb $*"
    [ ! -s stderr ] || fail "stderr is not empty: perturb $* [$(head -c 300 stderr)]"
  else
    grep -qE -- "^perturb: .*$pattern" stderr || fail "no '$pattern' in the message: perturb $* [$(head -c 300 stderr)]"
    [ ! -s stdout ] || fail "stdout is not empty although it failed: perturb $*"
  fi
}

# json 'PYTHON CONDITION ON d' ARGUMENT...: exit code 0, valid JSON d on stdout, and the condition holds
json() {
  local condition=$1
  shift
  expect 0 '^\{' "$@" --json
  command -v python3 >/dev/null || return 0
  checks=$((checks + 1))
  python3 -m json.tool stdout >/dev/null || fail "not JSON: perturb $*"
  python3 -c "import json; d = json.load(open('stdout')); assert $condition, '''$condition'''" 2>python_error ||
    fail "$condition: perturb $* [$(tail -n 1 python_error)]"
}

maze=$data/maze-32-32-2.map
wine=$data/wine_label_ranking.csv
terrain=$data/west_bijou_escarpment_67x129.asc
quick=(--samples 64 --threads 1)

# ---------------------------------------------------------------- help and usage
expect 0 '^perturb [0-9]+\.[0-9]+\.[0-9]+ \(library [0-9]+\.[0-9]+\.[0-9]+\)$' --version
expect 0 'Exit codes: 0 done' --help
for command in path rank top-k argmax sort neighbors vjp lpgd imle bench; do
  expect 0 'Usage: perturb '$command $command --help
  expect 0 'Examples:' $command --help
done
for command in vjp lpgd imle; do
  for oracle in rank top-k argmax path; do expect 0 "Usage: perturb $command $oracle" $command $oracle --help; done
done
expect 2 'subcommand is required'
expect 2 'no such command or option: fly' fly
expect 2 'no such command or option: --fly' --fly
expect 2 'map is required' path
expect 2 'scores is required' rank
expect 2 'points is required' neighbors
expect 2 'queries is required' neighbors "$wine"
expect 2 '-k is required' top-k "$wine"
expect 2 'subcommand is required' vjp
expect 2 'cotangent is required' vjp rank "$wine"
expect 2 'epsilon.*-1' path "$maze" --epsilon -1
expect 2 'epsilon.*nan' path "$maze" --epsilon nan
expect 2 'epsilon' path "$maze" --epsilon 1 2 3 4
expect 2 'epsilon' rank "$wine" --epsilon 1 2
expect 2 'samples' path "$maze" --samples 0
expect 2 'samples' path "$maze" --samples many
expect 2 'distribution' path "$maze" --distribution cauchy
expect 2 'connectivity' path "$maze" --connectivity 6
expect 2 'diagonal' path "$maze" --diagonal 3
expect 2 'threads' path "$maze" --threads 5000
expect 2 'base' rank "$wine" --base 2
expect 2 'x.gif: the extension must be .png, .npy or .csv' path "$maze" -o x.gif
expect 2 'x.png: the extension must be .csv or .npy' rank "$wine" -o x.png
expect 2 'nowhere/x.png: cannot be written: No such file' path "$maze" -o nowhere/x.png

# ---------------------------------------------------------------- bad input
expect 2 'none.map: cannot be opened: No such file' path none.map
mkdir folder.map
expect 2 'folder.map: is a folder' path folder.map
expect 2 'the extension of a grid must be .map, .asc or .npy' path "$wine"
expect 2 'the extension of scores must be .csv or .npy' rank "$maze"
printf 'type octile\nheight 2\nwidth 3\nmap\n...\n.x.\n' >bad.map
expect 2 "bad.map:6: column 2 has 'x'" path bad.map
printf 'type octile\nheight 1\nwidth 3\nmap\n@@@\n' >walls.map
expect 2 'walls.map: every cell is a wall' path walls.map
printf 'type octile\nheight 1\nwidth 3\nmap\n.@.\n' >split.map
expect 1 'PERTURB_ERROR_UNREACHABLE' path split.map --from 0,0 --to 0,2
expect 0 'from 0,2 to 0,2' path split.map --from 0,2 "${quick[@]}"
printf 'ncols 2\nnrows 1\n1 z\n' >bad.asc
expect 2 "bad.asc:3: field 2 is 'z'" path bad.asc
printf 'not numpy' >bad.npy
expect 2 'bad.npy: byte 0: not a .npy file' path bad.npy
expect 2 'bad.npy: byte 0: not a .npy file' rank bad.npy
printf 'a,b\n1,2\n3,x\n' >bad.csv
expect 2 "bad.csv:3: field 2 \('b'\) is 'x', not a number" rank bad.csv
expect 0 'row 1: rank of 1 items' rank bad.csv --columns a "${quick[@]}"
printf 'a,b\n1,2\n3\n' >ragged.csv
expect 2 'ragged.csv:3: 1 fields, but line 1 has 2' argmax ragged.csv
expect 2 'from: cell 0,0 of .* is a wall' path "$maze" --from 0,0
expect 2 'from: expected ROW,COLUMN' path "$maze" --from 7
expect 2 'to: cell 32,0 is outside the 32 x 32 grid' path "$maze" --to 32,0
expect 2 'row: .* has no row 178, only 0 to 177' rank "$wine" --row 178
expect 2 "columns: .* has no column 'B7'" rank "$wine" --columns A1:B7
expect 2 "columns: .* ends before it begins" rank "$wine" --columns A3:A1
expect 2 '-k: 5 of 2 items' top-k "$wine" -k 5 --columns A1:A2
expect 2 "cotangent: expected ones or a .csv or .npy file, got 'twos'" vjp rank "$wine" --cotangent twos
printf '1,2,3\n' >g.csv
expect 2 'g.csv: the cotangent has shape \(1, 3\), expected \(178, 16\) or one row for all' vjp rank "$wine" --cotangent g.csv
expect 1 'PERTURB_ERROR_UNSUPPORTED' argmax "$wine" --row 0 --multiplicative --distribution gumbel

# ---------------------------------------------------------------- path
expect 0 'from 1,1 to 31,31: shortest path of [0-9]+ cells, cost 125\.' path "$maze" "${quick[@]}"
json 'd["hard"]["path"][0] == d["from"] and d["hard"]["path"][-1] == d["to"] and len(d["results"]) == 2' path "$maze" --epsilon 0 0.5 "${quick[@]}"
# Without noise the expected path is the hard one, and certain.
json 'd["results"][0]["expected_cost_std_error"] < 1e-3 and d["results"][0]["cells_visited"] == len(d["hard"]["path"])' path "$maze" -e 0 "${quick[@]}"
json 'all(0 <= y <= 1 for row in d["results"][0]["expected"] for y in row) and d["results"][0]["expected"][31][31] == 1' path "$maze" "${quick[@]}"
json 'd["results"][0]["expected_cost_std_error"] is None' path "$maze" --samples 1
# The optimal length that MovingAI's scenario file gives (from x 15, y 2 to x 1, y 27; x is the column).
json 'abs(d["hard"]["cost"] - 64.31370850) < 2e-3' path "$maze" --from 2,15 --to 27,1 "${quick[@]}"
# The least cost on the terrain, the source counted, as two other programs found it.
json 'abs(d["hard"]["cost"] - 6008) < 0.13' path "$terrain" --count-source --from 0,0 --to 66,128 "${quick[@]}"
json 'd["connectivity"] == "4" and d["diagonal"] == 1 and d["mode"] == "multiplicative"' path "$terrain" --connectivity 4 --multiplicative "${quick[@]}" -e 0.2
expect 0 'wrote p.csv' path "$maze" -o p.png -o p.npy -o p.csv --epsilon 0.1 1 "${quick[@]}"
[ "$(head -n 1 p.csv)" = epsilon,row,column,cost,hard,expected,std_error ] || fail "header of p.csv"
[ "$(wc -l <p.csv)" -eq $((1 + 2 * 666)) ] || fail "lines of p.csv: $(wc -l <p.csv)"
[ "$(head -c 4 p.png | tail -c 3)" = PNG ] || fail "p.png is not a PNG"
[ "$(wc -c <p.npy)" -eq $((128 + 4 * 2 * 32 * 32)) ] || fail "size of p.npy: $(wc -c <p.npy)"
# Same seed, same numbers, for any number of threads; another seed, other numbers.
"$perturb" path "$maze" -o a.csv -n 300 --threads 1 >/dev/null && "$perturb" path "$maze" -o b.csv -n 300 --threads 2 >/dev/null
cmp -s a.csv b.csv || fail "the number of threads changes the result"
"$perturb" path "$maze" -o b.csv -n 300 --seed 1 >/dev/null
cmp -s a.csv b.csv && fail "the seed does not change the result"
# The array that was written is a map for the next run (0 is floored to the least cost).
expect 0 'wrote one.npy' path "$maze" -o one.npy --epsilon 0.5 "${quick[@]}"
expect 0 'one.npy: 32 x 32, 1024 passable cells' path one.npy "${quick[@]}"

# Sets of ends: the path is that of the nearest pair, whatever their order; without noise and with it.
ends=(--from 2,15 --from 30,31 --from 16,7 --to 27,1 --to 1,1)
json 'd["sources"] == [[2, 15], [30, 31], [16, 7]] and d["targets"] == [[27, 1], [1, 1]] and d["from"] == d["hard"]["path"][0] and d["to"] == d["hard"]["path"][-1]' \
  path "$maze" "${ends[@]}" "${quick[@]}"
json 'd["from"] in d["sources"] and d["to"] in d["targets"] and sum(c in d["sources"] for c in d["hard"]["path"]) == 1' path "$maze" "${ends[@]}" --count-source "${quick[@]}"
least=$(for from in 2,15 30,31 16,7; do for to in 27,1 1,1; do
  "$perturb" path "$maze" --from $from --to $to "${quick[@]}" | sed -n 's/.* cost \([0-9.]*\).*/\1/p' | head -n 1
done; done | sort -g | head -n 1)
expect 0 "from 2,15 or 30,31 or 16,7 to 27,1 or 1,1: shortest path of [0-9]+ cells, cost $least, from " path "$maze" "${ends[@]}" "${quick[@]}"
json 'all(abs(sum(d["results"][0]["expected"][r][c] for r, c in ends) - 1) < 1e-5 for ends in (d["sources"], d["targets"]))' path "$maze" "${ends[@]}" "${quick[@]}"
expect 0 'wrote ends.png' path "$maze" "${ends[@]}" -o ends.png "${quick[@]}"
expect 0 'from 2,15 or 30,31 or 16,7 to 27,1 or 1,1: gradient' vjp path "$maze" "${ends[@]}" --cotangent ones "${quick[@]}"
expect 0 'from 2,15 or 2,15 or 2,15 or 2,15 or 1 more to' path "$maze" --from 2,15 --from 2,15 --from 2,15 --from 2,15 --from 2,15 "${quick[@]}"
expect 2 'from: cell 0,0 of .* is a wall' path "$maze" --from 2,15 --from 0,0
expect 2 "to: expected ROW,COLUMN such as 3,14, got '4;4'" path "$maze" --to 27,1 --to '4;4'

# ---------------------------------------------------------------- scores
expect 0 'row 0: rank of 13 items, epsilon 0.3, 64 samples' rank "$wine" --row 0 --columns A1:A13 --epsilon 0.3 "${quick[@]}"
json 'sorted(d["rows"][0]["hard"]) == list(range(1, 14)) and abs(sum(d["rows"][0]["expected"]) - 91) < 1e-3' rank "$wine" --row 0 --columns A1:A13 "${quick[@]}"
json 'd["rows"][0]["hard"][11] == 0 and d["descending"] is True' rank "$wine" --row 0 --columns 0:12 --descending --base 0 "${quick[@]}"
json 'all(abs(sum(r["expected"]) - 3) < 1e-4 for r in d["rows"]) and len(d["rows"]) == 178' top-k "$wine" -k 3 "${quick[@]}"
json 'd["rows"][0]["hard"] == [0, 0, 1] and d["items"] == ["L1", "L2", "L3"]' argmax "$wine" --row 0 --columns L1: "${quick[@]}"
# With Gumbel noise the expected argmax is softmax: within 5 standard errors.
json 'all(abs(y - w) < 5 * s + 1e-3 for y, s, w in zip(d["rows"][0]["expected"], d["rows"][0]["std_error"], [0.0900306, 0.2447285, 0.6652410]))' \
  argmax "$wine" --row 0 --columns L1:L3 --distribution gumbel -n 20000
# A row has the same numbers alone and among the others.
"$perturb" rank "$wine" -o all.csv "${quick[@]}" >/dev/null && "$perturb" rank "$wine" --row 7 --row 3 -o some.csv "${quick[@]}" >/dev/null
[ "$(grep '^3,' all.csv)" = "$(grep '^3,' some.csv)" ] || fail "row 3 depends on the other rows"
expect 0 'wrote r.npy' rank "$wine" -o r.npy "${quick[@]}"
expect 0 'r.npy, row 177: argmax of 16 items' argmax r.npy "${quick[@]}"

# ---------------------------------------------------------------- sorted scores
expect 0 'row 0: sort of 13 items, epsilon 0.3, 64 samples' sort "$wine" --row 0 --columns A1:A13 --epsilon 0.3 "${quick[@]}"
json 'all(sorted(r["hard"]) == r["hard"] and sorted(r["expected"]) == r["expected"] for r in d["rows"]) and len(d["rows"]) == 178' sort "$wine" "${quick[@]}"
json 'd["rows"][0]["expected"] == d["rows"][0]["hard"] and d["quantiles"][0] == 1 and d["descending"] is True' sort "$wine" --row 0 --descending --epsilon 0 "${quick[@]}"
# Noise of mean 0 keeps the sum; the largest of three with Gumbel noise is logsumexp + 0.5772 on average.
json 'abs(sum(d["rows"][0]["expected"]) - sum(d["rows"][0]["hard"])) < 0.3' sort "$wine" --row 0 -n 20000
json 'len(d["rows"][0]["expected"]) == 1 and abs(d["rows"][0]["expected"][0] - 3.98482) < 5 * d["rows"][0]["std_error"][0]' sort "$wine" --row 0 --columns L1:L3 -k 1 --distribution gumbel -n 20000
expect 0 'wrote sorted.csv' sort "$wine" -k 2 -o sorted.csv -o sorted.npy "${quick[@]}"
[ "$(wc -l <sorted.csv)" -eq 357 ] || fail "sorted.csv has not two positions for each of 178 rows"
expect 0 'sorted.npy, row 177: argmax of 2 items' argmax sorted.npy "${quick[@]}"
expect 2 'k' sort "$wine" -k 17
expect 2 'k' sort "$wine" -k 0
expect 2 'excludes' sort "$wine" -k 2 --descending

# ---------------------------------------------------------------- nearest neighbours
printf 'x,y,label\n0,0,a\n1,0,b\n0,1,c\n5,5,d\n' >points.csv
printf 'x,y,label\n0.1,0,q\n4,4,r\n' >queries.csv
at=(--columns x:y)
expect 0 'queries.csv, row 1: 2 nearest of 4 points, epsilon 0.5, 64 samples' neighbors points.csv queries.csv -k 2 "${at[@]}" -e 0.5 "${quick[@]}"
json 'd["rows"][0]["hard"] == [1, 1, 0, 0] and d["rows"][1]["hard"][3] == 1 and all(abs(sum(r["expected"]) - 2) < 1e-5 for r in d["rows"])' \
  neighbors points.csv queries.csv --k 2 "${at[@]}" -e 0.5 "${quick[@]}"
json 'd["rows"][0]["expected"] == d["rows"][0]["hard"] and "gradient" not in d["rows"][0]' neighbors points.csv queries.csv "${at[@]}" -e 0 "${quick[@]}"
# With Gumbel noise one neighbour is softmax of the negative squared distances: 0.01, 0.81, 1.01 and beyond reach.
json 'all(abs(y - w) < 5 * s + 1e-3 for y, s, w in zip(d["rows"][0]["expected"], d["rows"][0]["std_error"], [0.5502946, 0.2472633, 0.2024421]))' \
  neighbors points.csv queries.csv --row 0 "${at[@]}" --distribution gumbel -n 20000
# Moving everything moves no distance: the gradients of queries and points add up to 0.
printf '1,0,0,2\n' >g1.csv
json 'all(abs(sum(r["gradient"][j] for r in d["rows"]) + sum(p[j] for p in d["gradient_points"])) < 1e-3 for j in (0, 1)) and any(v != 0 for v in d["rows"][0]["gradient"])' \
  neighbors points.csv queries.csv -k 2 "${at[@]}" --cotangent g1.csv "${quick[@]}"
expect 0 'gradient of <g, expected> in the query:' neighbors points.csv queries.csv "${at[@]}" --cotangent g1.csv "${quick[@]}"
expect 0 'wrote near.npy' neighbors points.csv queries.csv "${at[@]}" -k 2 -o near.csv -o near.npy "${quick[@]}"
[ "$(head -n 1 near.csv)" = row,point,distance,hard,expected,std_error ] || fail "header of near.csv"
expect 0 'near.npy, row 1: argmax of 4 items' argmax near.npy "${quick[@]}"
# A query has the same numbers alone and among the others.
"$perturb" neighbors points.csv queries.csv "${at[@]}" --row 1 -o near1.csv "${quick[@]}" >/dev/null && "$perturb" neighbors points.csv queries.csv "${at[@]}" -o near.csv "${quick[@]}" >/dev/null
[ "$(grep '^1,' near.csv)" = "$(grep '^1,' near1.csv)" ] || fail "query 1 depends on the other queries"
expect 2 "points.csv:2: field 3 \('label'\) is 'a', not a number" neighbors points.csv queries.csv
expect 2 'g.csv: a query has 3 columns, but a point of near.npy has 4' neighbors near.npy g.csv
expect 2 '-k: 5 of 4 points' neighbors points.csv queries.csv "${at[@]}" -k 5
expect 2 'the extension of points must be .csv or .npy' neighbors "$maze" queries.csv
expect 2 'none.csv: cannot be opened' neighbors points.csv none.csv "${at[@]}"
expect 2 'row: .* has no row 2, only 0 to 1' neighbors points.csv queries.csv "${at[@]}" --row 2
expect 2 'g.csv: the cotangent has shape \(1, 3\), expected \(2, 4\) or one row for all' neighbors points.csv queries.csv "${at[@]}" --cotangent g.csv
printf '3e19,0\n' >far.csv
expect 1 'squared distance.*PERTURB_ERROR_INVALID_ARGUMENT' neighbors points.csv far.csv --columns 0:1

# ---------------------------------------------------------------- gradients
expect 0 'gradient of <g, expected top-k>' vjp top-k "$wine" -k 3 --row 0 --cotangent ones "${quick[@]}"
# The ranks, and the picked items, of a row add up to a constant, so that the gradient of their sum is 0.
json 'all(abs(v) < 1e-3 for v in d["rows"][0]["gradient"])' vjp rank "$wine" --row 0 --cotangent ones "${quick[@]}"
json 'len(d["rows"]) == 2 and len(d["rows"][0]["gradient"]) == 3' vjp argmax "$wine" --row 0 --row 5 --columns L1:L3 --cotangent g.csv "${quick[@]}"
json 'len(d["gradient"]) == 32 and d["gradient"][0][0] == 0 and any(v != 0 for row in d["gradient"] for v in row)' vjp path "$maze" --cotangent ones "${quick[@]}"
expect 0 'Euclidean norm' vjp path "$maze" --cotangent one.npy "${quick[@]}" -o v.csv -o v.npy
expect 0 'gradient of <g, rank>, lower side, tau 2, cotangent ones' lpgd rank "$wine" --row 0 --cotangent ones --tau 2
json 'all(v == 0 for v in d["rows"][0]["gradient"])' lpgd rank "$wine" --row 0 --cotangent ones --tau 2
json 'd["side"] == "average" and any(v != 0 for v in d["rows"][0]["gradient"])' lpgd argmax "$wine" --row 0 --columns A1:A3 --cotangent g.csv --tau 1e6 --side average
json 'd["tau"] == 3 and d["samples"] == 8 and abs(sum(d["rows"][0]["gradient"])) < 1e-4' imle top-k "$wine" -k 3 --row 0 --columns A1:A5 --cotangent ones --tau 3 --samples 8
expect 0 'Euclidean norm' lpgd path "$maze" --cotangent one.npy --tau 5 --rho 0.5 --diagonal 1
expect 2 'tau' lpgd rank "$wine" --cotangent ones --tau 0
[ "$(wc -l <v.csv)" -eq 667 ] || fail "lines of v.csv"

# ---------------------------------------------------------------- bench, failing outputs
expect 0 'path 96 x 96' bench --seconds 0.001
json 'len(d["results"]) == 6 and all(r["samples_per_second"] > 0 for r in d["results"])' bench --seconds 0.001
if [ -e /dev/full ]; then
  checks=$((checks + 1))
  "$perturb" rank "$wine" "${quick[@]}" >/dev/full 2>stderr
  [ $? -eq 1 ] || fail "a full standard output must give exit code 1"
  grep -q '^perturb: cannot write to the standard output' stderr || fail "message about a full standard output"
fi
checks=$((checks + 1))
[ -z "$(find . -name '*.partial-*')" ] || fail "partial files are left: $(find . -name '*.partial-*')"

echo "$checks checks, $failures failed"
[ "$failures" -eq 0 ]
