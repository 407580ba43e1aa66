#!/usr/bin/env bash
# hello.c -> hello.wasm. Needs clang and lld (no libc), and wasm-tools: `make tools build` has both.
# The same toolchain gives the same bytes: hello.wasm in this folder is from clang 14 and wasm-tools 1.262.
#   build.sh [TARGET]
set -euo pipefail
target=$(realpath -m "${1:-$(dirname "$0")/hello.wasm}")
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

clang --target=wasm32-unknown-unknown -O2 -std=c11 -Wall -Wextra -Werror -mbulk-memory \
  -ffreestanding -nostdlib -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=16384 \
  -o "$scratch/core.wasm" hello.c
wasm-tools component embed wit --world hello "$scratch/core.wasm" -o "$scratch/embedded.wasm"
wasm-tools component new "$scratch/embedded.wasm" -o "$scratch/component.wasm"
wasm-tools strip --all "$scratch/component.wasm" -o "$target"
