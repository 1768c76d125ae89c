#!/bin/sh
# Compiler launcher of CUDA files: runs the command, and keeps what ptxas says of each kernel (registers, stack, spills) beside the object as
# <object>.ptxas instead of printing it. tests/cuda/budget.py reads those files.
object=
previous=
for argument in "$@"; do
  [ "$previous" = "-o" ] && object=$argument
  previous=$argument
done
case "$object" in
  *.o) ;;
  *) exec "$@" ;;
esac
"$@" -Xptxas -v 2>"$object.stderr"
status=$?
grep -E '^ptxas info|bytes stack frame' "$object.stderr" >"$object.ptxas"
grep -vE '^ptxas info|bytes stack frame' "$object.stderr" >&2
rm -f "$object.stderr"
exit $status
