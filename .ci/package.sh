# shellcheck shell=bash
# build_package <preset> <directory> [CMake options]: the package with the kernels of a CMake preset,
# into <directory>/package, which is where Python looks first from now on.
build_package() {
  local preset=$1 build=$2
  shift 2
  if command -v ccache >/dev/null; then set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  rm -f "$build/CMakeCache.txt" # it may name the packages of another environment
  cmake --preset "$preset" -B "$build" "$@" >/dev/null
  cmake --build "$build"
  rm -rf "$build/package"
  mkdir -p "$build/package"
  cp -r python/bptt "$build/package"
  rm -f "$build"/package/bptt/_core/*.so
  cmake --install "$build" --prefix "$build/package" >/dev/null
  export PYTHONPATH=$PWD/$build/package
}
