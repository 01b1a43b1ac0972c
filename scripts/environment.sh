# shellcheck shell=bash
# Where things that are built or downloaded live, and what several scripts do; sourced by them.
# Nothing is written into the clone but `node_modules` folders and what the examples' own scripts make.

CONCAVE_CACHE="${CONCAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/concave}"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CONCAVE_CACHE/target}"
CONCAVE_BIN="${CONCAVE_BIN:-$CARGO_TARGET_DIR/release/concave}"
export CONCAVE_CACHE CARGO_TARGET_DIR CONCAVE_BIN

# fail TEXT...: ends the script with a reason.
fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# install_packages PACKAGE...: installs Debian packages, if there are any to install.
install_packages() {
  (($# > 0)) || return 0
  command -v apt-get >/dev/null || fail "please install: $*"
  local sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "please install: $*"
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null
}
