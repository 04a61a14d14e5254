#!/usr/bin/env bash
# generate.sh LIBRARY: makes the Kotlin and Swift files below generated/ anew, of a built libreliable_channel_uniffi.so.
# Needs uniffi-bindgen of UniFFI 0.32.2 (cargo install --locked uniffi --version 0.32.2 --features cli).
set -euo pipefail

if [[ $# -ne 1 ]]; then
    echo "usage: $0 LIBRARY" >&2
    exit 2
fi
library="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf generated
for language in kotlin swift; do
    uniffi-bindgen generate --no-format --language "$language" --out-dir "generated/$language" --library "$library"
done
