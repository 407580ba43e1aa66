#!/usr/bin/env bash
# probe.c -> probe.wasm. Needs clang and lld (no libc), and wasm-tools: `make tools build` has both.
# The same toolchain gives the same bytes: probe.wasm in this folder is from clang 14 and wasm-tools 1.262.
#   build.sh [TARGET]
set -euo pipefail
target=$(realpath -m "${1:-$(dirname "$0")/probe.wasm}")
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

clang --target=wasm32-unknown-unknown -Os -std=c11 -Wall -Wextra -Werror -mbulk-memory \
  -ffreestanding -nostdlib -fno-builtin -Wl,--no-entry -Wl,-z,stack-size=16384 \
  -o "$scratch/core.wasm" probe.c
wasm-tools component embed wit --world probe "$scratch/core.wasm" -o "$scratch/embedded.wasm"
wasm-tools component new "$scratch/embedded.wasm" -o "$target"
