#!/bin/sh
# Put the kernel's modules into the tree: put_modules.sh MODULES TREE
# MODULES is a directory named after the kernel's version.
set -eu
version=$(basename "$1")
mkdir -p "$2/usr/lib/modules"
cp --recursive --no-preserve=ownership "$1" "$2/usr/lib/modules/"
chroot "$2" depmod "$version"
