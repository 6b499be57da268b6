#!/bin/sh
# Makes what `debian:bookworm-slim` is, with Python, where nothing can be pulled, and writes it to stdout as a tar archive:
#
#   docker/offline/make-base.sh | docker import - "$(docker/offline/make-base.sh --reference)"
#
# `tandem images` does that by itself. Needs root, debootstrap and a Debian mirror.
set -eu

if [ "${1-}" = --reference ]; then
    digest=$({ cat "$0"; printf '\0%s\0%s' "${DEBIAN_MIRROR-}" "${DEBIAN_SECURITY_MIRROR-}"; } | sha256sum)
    echo "tandem/debian-base:$(echo "$digest" | cut -c1-12)"
    exit
fi

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
folder=$(mktemp -d)
trap 'umount "$folder/root/proc" 2>/dev/null || true; rm -rf --one-file-system "$folder"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# Documentation, manual pages and translations serve nobody in a container; later installs leave them out too.
slim=etc/dpkg/dpkg.cfg.d/slim
mkdir -p "$folder/root/etc/dpkg/dpkg.cfg.d" "$folder/root/etc/apt/apt.conf.d"
cat > "$folder/root/$slim" <<'SLIM'
# A build that is cut off is thrown away: no need to wait for the disk after every file.
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
SLIM
# As in Debian's own image, what apt downloaded is not kept.
cat > "$folder/root/etc/apt/apt.conf.d/clean" <<'CLEAN'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CLEAN

debootstrap --variant=minbase --include=python3 bookworm "$folder/root" "$mirror" >&2

cat > "$folder/root/etc/apt/sources.list" <<SOURCES
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $security bookworm-security main
SOURCES
cd "$folder/root"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/man usr/share/info usr/share/locale usr/share/lintian
find usr/share/doc -mindepth 2 ! -name copyright -delete 2>/dev/null || true
mkdir -p var/lib/apt/lists/partial var/cache/apt/archives/partial
tar --numeric-owner --one-file-system --create .
