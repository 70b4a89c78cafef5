#!/bin/sh
# Make the tree a quick and anonymous machine: finish.sh TREE
set -eu
tree=$1
in_tree() { chroot "$tree" "$@"; }
mask() {
	for unit; do ln -sf /dev/null "$tree/etc/systemd/system/$unit"; done
}

# The one account: no password fits "*", and unlike "!" it is not a locked account.
in_tree useradd --create-home --shell /bin/bash --groups sudo --password '*' admin

in_tree update-locale LANG=C.UTF-8

in_tree systemctl enable --quiet systemd-networkd.service ssh.service
# uml_mconsole's "cad" presses Ctrl-Alt-Del: a clean shutdown, as a power button makes it.
ln -sf /usr/lib/systemd/system/poweroff.target "$tree/etc/systemd/system/ctrl-alt-del.target"

# Nobody sits at a console, the disk is a file that needs no trimming nor scrubbing, and
# packages change when a playbook says so.
mask getty.target console-getty.service fstrim.timer e2scrub_all.timer e2scrub_reap.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
# What these do at every boot or at the first one is done here.
in_tree ldconfig
in_tree journalctl --quiet --update-catalog
mask ldconfig.service systemd-journal-catalog-update.service systemd-update-done.service \
	systemd-firstboot.service
# What these do has no object on such a machine. Starting a process is slow there, and
# each costs some 30 ms; a mount still loads its kernel module when somebody asks for it.
mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service \
	systemd-networkd-wait-online.service systemd-networkd-persistent-storage.service \
	systemd-sysext.socket systemd-creds.socket systemd-initctl.socket \
	systemd-udev-load-credentials.service kmod-static-nodes.service \
	sys-fs-fuse-connections.mount sys-kernel-config.mount \
	modprobe@configfs.service modprobe@drm.service modprobe@fuse.service

# Empty, not missing nor "uninitialized": a number of its own at the first boot, but
# without presetting every unit, which takes 8 s.
: > "$tree/etc/machine-id"

# What is left of the computer that built this, and secrets that nodes would share.
rm -f "$tree/etc/hosts" "$tree/etc/hostname" "$tree/etc/resolv.conf" \
	"$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap" \
	"$tree"/etc/ssh/ssh_host_* "$tree/etc/munge/munge.key" \
	"$tree/etc/ssl/private/ssl-cert-snakeoil.key" "$tree/etc/ssl/certs/ssl-cert-snakeoil.pem" \
	"$tree/var/lib/dbus/machine-id" "$tree/var/lib/systemd/random-seed"
find "$tree/var/log" -type f -delete
touch "$tree/etc/.updated" "$tree/var/.updated"
