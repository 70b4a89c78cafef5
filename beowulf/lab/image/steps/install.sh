#!/bin/sh
# Install packages and leave what they bring switched off: install.sh "PACKAGE PACKAGE..." TREE
set -eu
packages=$1
tree=$2
enabled() {
	chroot "$tree" systemctl list-unit-files --no-legend --no-pager --state=enabled |
		cut -d ' ' -f 1 | LC_ALL=C sort
}
enabled > "$tree/run/enabled.before"
# shellcheck disable=SC2086  # names of packages hold no blanks
chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get install \
	--yes --quiet --no-install-recommends $packages < /dev/null
enabled > "$tree/run/enabled.after"
new=$(LC_ALL=C comm -13 "$tree/run/enabled.before" "$tree/run/enabled.after")
rm "$tree/run/enabled.before" "$tree/run/enabled.after"
# shellcheck disable=SC2086  # names of units hold no blanks
[ -z "$new" ] || chroot "$tree" systemctl disable --quiet $new
