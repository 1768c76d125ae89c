#!/usr/bin/env bash
# Uses perturb as a stranger would: installs the build to a new prefix, moves that, and builds and runs the examples against it.
#   test_install.sh install|find_package|pkg_config|symbols|soname
# CTest runs `install` first and gives the rest in the environment (see CMakeLists.txt beside this file).
set -euo pipefail
: "${CMAKE:?}" "${BUILD:?}" "${CONFIG:?}" "${CC:?}" "${CXX:?}" "${VERSION:?}" "${SOVERSION:?}" "${WORK:?}" "${LIBDIR:?}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$WORK/prefix
library=$prefix/$LIBDIR/libperturb.so.$VERSION

fail() { echo "FAILED: $*" >&2; exit 1; }

# The examples print frequencies of 10000 samples, close to softmax(1, 2, 3): 0.090 0.245 0.665 (standard errors below 0.005).
check_output() {
  echo "$1"
  awk 'function near(x, y) { return x - y < 0.025 && y - x < 0.025 }
       /^y_eps = / && NF == 5 { good += near($3, 0.090) && near($4, 0.245) && near($5, 0.665) }
       END { exit !(NR == 1 && good == 1) }' <<<"$1" || fail "not the softmax of 1 2 3: $1"
}

case "$1" in
  install)
    rm -rf "$WORK"
    "$CMAKE" --install "$BUILD" --config "$CONFIG" --prefix "$WORK/first"
    mv "$WORK/first" "$prefix" # nothing installed may know the prefix
    if grep -rIl -e "$BUILD" -e "$WORK/first" "$prefix"; then fail "the files above name the build or the first prefix"; fi
    if [ -x "$prefix/bin/perturb" ]; then "$prefix/bin/perturb" --help >/dev/null || fail "the installed command does not run"; fi
    ;;
  find_package)
    "$CMAKE" -S "$here/client" -B "$WORK/client" -DCMAKE_PREFIX_PATH="$prefix" -DWANTED_VERSION="$VERSION" -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX"
    "$CMAKE" --build "$WORK/client"
    from_c=$("$WORK/client/example")
    check_output "$from_c"
    [ "$("$WORK/client/example_hpp")" = "$from_c" ] || fail "the archive and the shared library print different bits"
    if "$CMAKE" -S "$here/client" -B "$WORK/client_99" -DCMAKE_PREFIX_PATH="$prefix" -DWANTED_VERSION=99 -DCMAKE_C_COMPILER="$CC" \
      -DCMAKE_CXX_COMPILER="$CXX" >/dev/null 2>&1; then fail "find_package(perturb 99) succeeded"; fi
    ;;
  pkg_config)
    export PKG_CONFIG_PATH=$prefix/$LIBDIR/pkgconfig
    [ "$(pkg-config --modversion perturb)" = "$VERSION" ] || fail "perturb.pc has another version"
    read -ra flags <<<"$(pkg-config --cflags --libs perturb)"
    "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror "$here/example.c" "${flags[@]}" -o "$WORK/example_pc"
    "$CXX" -std=c++20 -Wall -Wextra -Wpedantic -Werror "$here/example_hpp.cpp" "${flags[@]}" -o "$WORK/example_hpp_pc"
    check_output "$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$WORK/example_pc")"
    check_output "$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$WORK/example_hpp_pc")"
    # The archive from C: perturb.pc says what it needs.
    read -ra flags <<<"$(pkg-config --static --cflags --libs perturb)"
    "$CC" -std=c11 "$here/example.c" "${flags[@]/#-lperturb/-l:libperturb.a}" -o "$WORK/example_pc_static"
    check_output "$("$WORK/example_pc_static")"
    ;;
  symbols)
    exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
    declared=$(awk '/^PERTURB_API/ { match($0, /perturb_[a-z0-9_]+\(/); print substr($0, RSTART, RLENGTH - 1) }' \
      "$prefix/include/perturb/perturb.h" | sort)
    [ -n "$declared" ] || fail "found no declaration in perturb.h"
    diff <(echo "$declared") <(echo "$exported") || fail "declared in perturb.h (<) and exported (>) differ"
    ;;
  soname)
    [ "$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')" = "libperturb.so.$SOVERSION" ] || fail "SONAME of $library"
    [ "$(readlink "$prefix/$LIBDIR/libperturb.so")" = "libperturb.so.$SOVERSION" ] || fail "libperturb.so does not link to the SONAME"
    if readelf -d "$library" | grep -E 'R(UN)?PATH|TEXTREL'; then fail "$library has the entries above"; fi
    ;;
  *) fail "no such test: $1" ;;
esac
