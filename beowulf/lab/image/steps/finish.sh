#!/bin/sh
# Make the tree a quick and anonymous machine: finish.sh TREE
set -eu
tree=$1
in_tree() { chroot "$tree" "$@"; }

# The one account: no password fits "*", and unlike "!" it is not a locked account.
in_tree useradd --create-home --shell /bin/bash --groups sudo --password '*' admin

# User-Mode Linux has no nftables.
for name in iptables ip6tables; do
	[ ! -e "$tree/usr/sbin/$name-legacy" ] ||
		in_tree update-alternatives --set "$name" "/usr/sbin/$name-legacy"
done

in_tree systemctl enable --quiet systemd-networkd.service ssh.service
# uml_mconsole's "cad" presses Ctrl-Alt-Del: a clean shutdown, as a power button makes it.
ln -sf /usr/lib/systemd/system/poweroff.target "$tree/etc/systemd/system/ctrl-alt-del.target"

# Nobody sits at a console, the disk is a file that needs no trimming nor scrubbing, and
# packages change when a playbook says so.
in_tree systemctl mask --quiet \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
	getty.target console-getty.service \
	e2scrub_reap.service systemd-pstore.service
# What these do at every boot or at the first one is done here, or has no object.
in_tree ldconfig
in_tree journalctl --quiet --update-catalog
in_tree systemctl mask --quiet \
	ldconfig.service systemd-journal-catalog-update.service systemd-update-done.service \
	systemd-firstboot.service systemd-sysext.socket \
	systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-networkd-wait-online.service

# Empty, not missing nor "uninitialized": a number of its own at the first boot, but
# without presetting every unit, which takes 8 s.
: > "$tree/etc/machine-id"

# What builds and packages left behind of this computer, and secrets that every node
# would share.
rm -rf "$tree/etc/hosts" "$tree/etc/hostname" "$tree/etc/resolv.conf" \
	"$tree"/etc/ssh/ssh_host_* \
	"$tree/etc/munge/munge.key" \
	"$tree/etc/ssl/private/ssl-cert-snakeoil.key" "$tree/etc/ssl/certs/ssl-cert-snakeoil.pem" \
	"$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap" \
	"$tree/var/lib/dbus/machine-id" "$tree/var/lib/systemd/random-seed" \
	"$tree/etc/chrony/chrony.keys"
find "$tree/var/log" -type f -delete
touch "$tree/etc/.updated" "$tree/var/.updated"
