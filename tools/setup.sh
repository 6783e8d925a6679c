#!/usr/bin/env bash
# setup.sh LIST...: installs those Debian packages of the lists (one name a line) that are missing.
# Needs no network, and no rights, where all are there.
set -euo pipefail

if ! command -v dpkg-query > /dev/null; then
  echo "Not Debian or Ubuntu: rayc needs this system's counterparts of the packages in $*" >&2
  exit 0
fi

missing=()
while read -r package; do
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null) == installed ]] || missing+=("$package")
done < <(cat "$@")
[[ ${#missing[@]} -eq 0 ]] && exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [[ $(id -u) -eq 0 ]]; then
  as_root=()
elif command -v sudo > /dev/null && { [[ -t 0 ]] || sudo -n true 2> /dev/null; }; then
  as_root=(sudo)
else
  printf 'Debian packages are missing. As root, run:\n  apt-get update && %s\n' "${install[*]}" >&2
  exit 1
fi

echo "Installing Debian packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" -qq > /dev/null
