"""Make a disk that a PC's BIOS starts, without mounting anything and without loop devices."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from pathlib import Path

GRUB = Path("/usr/lib/grub/i386-pc")
MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "boot")
LABEL = "root"
SECTOR_BYTES = 512
DISK_MB = 8192
FIRST_SECTOR = 2048  # of the one partition; GRUB lives in the gap before it
LINUX = 0x83
ACTIVE = 0x80
NO_CYLINDERS = b"\xfe\xff\xff"  # beyond what cylinder, head and sector could say
BOOT_CODE_BYTES = 440  # then come the disk's number, the table of partitions, and a mark
# No menu: what Debian calls /vmlinuz is the newest kernel. Cards are eth0 and eth1, in the
# order in which Vagrant plugs them in.
START = f"""\
set root=(hd0,msdos1)
linux /vmlinuz root=LABEL={LABEL} ro console=ttyS0,115200 net.ifnames=0 audit=0 quiet \
systemd.show_status=false
initrd /initrd.img
boot
"""


def make_boot_disk(tree: Path, disk: Path) -> None:
    """Make ``disk``, a sparse file with GRUB and one ext4 partition that holds ``tree``.

    Raises:
        ValueError: GRUB does not fit before the partition.
        subprocess.CalledProcessError: GRUB's or ext4's tools failed.
    """
    sectors = DISK_MB * 1024 * 1024 // SECTOR_BYTES
    with disk.open("xb") as file:
        os.truncate(file.fileno(), sectors * SECTOR_BYTES)
    partition_kb = (sectors - FIRST_SECTOR) * SECTOR_BYTES // 1024
    place = f"offset={FIRST_SECTOR * SECTOR_BYTES}"
    options = ["-q", "-F", "-L", LABEL, "-m", "1", "-J", "size=16", "-E", place]
    subprocess.run(["mkfs.ext4", *options, "-d", tree, disk, f"{partition_kb}k"], check=True)
    grub = core_of_grub()
    with disk.open("r+b") as file:
        file.write(boot_record((GRUB / "boot.img").read_bytes(), sectors, os.urandom(4)))
        file.write(grub)


def core_of_grub() -> bytes:
    """Return what GRUB's boot record loads from the sectors right behind it."""
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.cfg"
        core = Path(folder) / "core.img"
        start.write_text(START)
        options = ["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub"]
        options += ["-c", str(start), "-o", str(core)]
        subprocess.run(["grub-mkimage", *options, *MODULES], check=True)
        grub = core.read_bytes()
    if len(grub) > (FIRST_SECTOR - 1) * SECTOR_BYTES:
        raise ValueError(f"GRUB is {len(grub)} bytes long and does not fit before the partition")
    return grub


def boot_record(code: bytes, sectors: int, disk_number: bytes) -> bytes:
    """Return a disk's first sector: GRUB's code, and a table with one active partition.

    ``sectors`` is the whole disk's length. GRUB's code looks for the rest of GRUB in
    the second sector, unless ``grub-install`` told it otherwise.
    """
    partition = struct.pack(
        "<B3sB3sII",
        ACTIVE,
        NO_CYLINDERS,
        LINUX,
        NO_CYLINDERS,
        FIRST_SECTOR,
        sectors - FIRST_SECTOR,
    )
    return code[:BOOT_CODE_BYTES] + disk_number + bytes(2) + partition + bytes(48) + b"\x55\xaa"
