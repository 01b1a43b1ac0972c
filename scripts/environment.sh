# shellcheck shell=bash
# Where things that are built or downloaded live; sourced by the other scripts.
# Nothing is written into the clone but `node_modules` folders and what the examples' own scripts make.

CONCAVE_CACHE="${CONCAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/concave}"
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CONCAVE_CACHE/target}"
CONCAVE_BIN="${CONCAVE_BIN:-$CARGO_TARGET_DIR/release/concave}"
export CONCAVE_CACHE CARGO_TARGET_DIR CONCAVE_BIN
