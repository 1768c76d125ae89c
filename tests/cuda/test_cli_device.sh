#!/usr/bin/env bash
# The command on CUDA: the same output as on the CPU, and clear errors. test_cli_device.sh WRAPPER COMMAND DATA; the wrapper runs CUDA programs.
set -euo pipefail
wrapper=$1 command=$2 data=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
checks=0

# same ARGUMENTS...: what is printed and written with --device cuda and auto equals what the CPU gives
same() {
  local device
  for device in cpu cuda auto; do
    "$wrapper" "$command" "$@" --device "$device" -o "$scratch/$device.npy" | sed "s/$device\.npy/out.npy/g" >"$scratch/$device.txt"
  done
  for device in cuda auto; do
    cmp "$scratch/cpu.txt" "$scratch/$device.txt"
    cmp "$scratch/cpu.npy" "$scratch/$device.npy"
    checks=$((checks + 2))
  done
}

ranks=$data/wine_label_ranking.csv
same rank "$ranks" --row 0 --columns A1:A13 --epsilon 0.3 --samples 200 --json
same top-k "$ranks" -k 3 --row 1 --columns A1:A13 --epsilon 0.3 --samples 200
same argmax "$ranks" --row 2 --columns A1:A13 --epsilon 0.3 --samples 200 --distribution gumbel
printf '0,0\n1,0\n0,1\n5,5\n' >"$scratch/points.csv"
printf '0.1,0\n4,4\n' >"$scratch/queries.csv"
same neighbors "$scratch/points.csv" "$scratch/queries.csv" -k 2 --epsilon 0.3 --samples 200 --cotangent ones --json
# Without a device (the wrapper left out, no driver) CUDA is refused with a sentence and auto computes on the CPU.
if [ "$wrapper" != env ]; then
  if "$command" rank "$ranks" --row 0 --columns A1:A13 --samples 10 --device cuda >"$scratch/out" 2>"$scratch/error"; then
    echo "--device cuda worked without a device" >&2
    exit 1
  fi
  grep -q "no CUDA device works here" "$scratch/error"
  "$command" rank "$ranks" --row 0 --columns A1:A13 --samples 10 --device auto >"$scratch/out"
  checks=$((checks + 2))
fi
echo "checks: $checks"
