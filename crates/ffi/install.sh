#!/usr/bin/env bash
# install.sh PREFIX: builds libsds and puts libraries, headers and pkg-config files below PREFIX.
set -euo pipefail

if [[ $# -ne 1 ]]; then
    echo "usage: $0 PREFIX" >&2
    exit 2
fi
package="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
mkdir -p "$1"
prefix="$(cd "$1" && pwd)"
cd "$package/../.."
cargo build --release --locked -p reliable-channel-ffi
built="$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"

install -d "$prefix/lib/pkgconfig" "$prefix/include"
install -m 755 "$built/libsds.so" "$prefix/lib/"
install -m 644 "$built/libsds.a" "$prefix/lib/"
install -m 644 "$package"/include/* "$prefix/include/"

# describe NAME DESCRIPTION: what pkg-config tells under this name. The library is one.
describe() {
    cat >"$prefix/lib/pkgconfig/$1.pc" <<EOF
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: $1
Description: $2
Version: $version
Libs: -L\${libdir} -lsds
Libs.private: -lpthread -ldl -lm
Cflags: -I\${includedir}
EOF
}
describe libsds "Scalable Data Sync, the C interface of nim-sds"
describe reliable_channel "Group messaging made reliable over any lossy broadcast"
echo "libsds $version is in $prefix"
