#!/usr/bin/env bash
# Looks at the object files of the kernels, src/cpu/isa_<name>.cpp: check_objects.sh "a.o;b.o;..."
#   - A function that other files could share must name the namespace perturb::isa_<name>. Otherwise the linker may take the copy of an
#     inline function that was compiled with AVX-512 and give it to a file that runs on every processor, which then stops with SIGILL.
#   - There are no static constructors: they would run before dispatch has looked at the processor.
set -euo pipefail
IFS=';' read -ra objects <<<"$1"
bad=0 seen=0
for object in "${objects[@]}"; do
  name=$(basename "$object")
  case "$name" in isa_*) name=${name%%.*} ;; *) continue ;; esac
  seen=$((seen + 1))
  if [ "$name" != isa_scalar ]; then # the scalar unit has no flags of its own: its copies are good for everyone
    # T and W: global and weak functions, i: resolved at load time, u: unique objects. Others are local or data.
    shared=$(nm -C --defined-only "$object" | sed -n 's/^[0-9a-f]* [TWi] //p' | grep -vE "perturb::$name::|[0-9]$name" || true) # or mangled, where nm cannot read a name
    if [ -n "$shared" ]; then
      printf '%s: functions outside namespace perturb::%s:\n%s\n' "$object" "$name" "$shared"
      bad=1
    fi
  fi
  if readelf -SW "$object" | grep -E '\.(init_array|ctors|preinit_array)'; then
    echo "$object: has the static constructors above"
    bad=1
  fi
done
[ "$seen" -gt 0 ] || { echo "no isa_*.o among the objects"; exit 1; }
[ "$bad" -eq 0 ] && echo "$seen kernel objects checked"
exit "$bad"
