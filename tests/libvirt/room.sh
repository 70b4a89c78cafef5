#!/bin/sh
# Furnish new namespaces for libvirt and stay: room.sh SCRATCH
#
# Called with network, mount, process, IPC and host name namespaces of its own. Nothing that
# libvirt writes, starts, mounts or plugs in outlives this process, and no packet leaves: the
# only card is the loopback.
set -eu
scratch=$1

ip link set lo up
umount --lazy /sys/fs/cgroup 2> /dev/null || true # libvirt must not make groups outside
mount -t sysfs sysfs /sys                         # shows this namespace's network cards
mount -t tmpfs tmpfs /run

for place in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
	mkdir -p "$scratch$place"
	cp --archive "$place/." "$scratch$place/"
	mount --bind "$scratch$place" "$place"
done
rm -rf /etc/libvirt/qemu/networks /var/lib/libvirt/images # not those of this computer
mkdir -m 711 /var/lib/libvirt/images

# All devices but /dev/kvm: here is a computer without virtualization.
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/net /mnt/pts /mnt/shm
for device in null zero full random urandom tty net/tun; do
	: > "/mnt/$device"
	mount --bind "/dev/$device" "/mnt/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /mnt/pts
mount -t tmpfs -o mode=1777 tmpfs /mnt/shm
ln -s pts/ptmx /mnt/ptmx
ln -s /proc/self/fd /mnt/fd
mount --move /mnt /dev

virtlogd --daemon
libvirtd --daemon
echo ready
# The shell stays as the first process and buries the dead: libvirt takes a zombie for a
# machine that does not want to stop.
sleep infinity &
wait
