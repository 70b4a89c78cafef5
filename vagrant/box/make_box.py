"""Make a Vagrant box for libvirt out of what the lab's own image is made of.

    python vagrant/box/make_box.py OUT.box

Needs root. The packages and files are those of the lab's bare image; a stock kernel of
Debian's and GRUB replace User-Mode Linux. No key is in the box and no password fits: see
first_contact.rb for how its machines come to trust you, and you them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from boot_disk import DISK_MB, make_boot_disk

from beowulf.errors import BeowulfError, InvalidInput, LabError
from beowulf.lab.image import recipe as lab_image
from beowulf.lab.image.bake import bake
from beowulf.lab.image.mirrors import SUITE, find_mirrors
from beowulf.lab.image.pack import packages_in
from beowulf.lab.image.secrets import secrets_in
from beowulf.lab.proxy import ensure_proxy

HERE = Path(__file__).resolve().parent
STEPS = lab_image.HERE / "steps"
# The smaller of Debian's kernels has what a virtual machine needs, NFS among it.
KERNEL = "linux-image-cloud-amd64"
CACHE = Path(os.environ.get("BEOWULF_LAB_CACHE_DIR", "/var/cache/beowulf"))


def main(arguments: list[str]) -> int:
    """Make the box that the command line asks for."""
    try:
        if len(arguments) != 1 or not arguments[0].endswith(".box"):
            raise InvalidInput("make_box.py", "it takes one path", "type: make_box.py OUT.box")
        if os.geteuid() != 0:
            raise LabError("make_box.py: only root can unpack packages; type the same behind sudo")
        make_box(Path(arguments[0]))
    except (BeowulfError, subprocess.CalledProcessError, OSError) as error:
        tell(str(error))
        return error.exit_status if isinstance(error, BeowulfError) else 1
    return 0


def make_box(box: Path) -> None:
    """Make the box and write it whole to ``box``."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".making-box-", dir=box.resolve().parent) as folder:
        work = Path(folder)
        tree = work / "tree"
        mirrors = find_mirrors(SUITE)
        proxy = ensure_proxy(CACHE, mirrors.servers)
        bake(recipe(mirrors.sources), tree, proxy.port, work / "bake.log", tell)
        if secrets := secrets_in(tree):
            raise LabError(f"box: {secrets[0]}; make vagrant/box remove it")
        kernel = packages_in(tree)[KERNEL]
        tell("box: packing the tree into a disk")
        make_boot_disk(tree, work / "disk.raw")
        words = ["qemu-img", "convert", "-c", "-O", "qcow2"]
        subprocess.run([*words, work / "disk.raw", work / "box.img"], check=True)
        (work / "metadata.json").write_text(metadata())
        with tarfile.open(work / "new.box", "w:gz", compresslevel=1) as archive:
            archive.add(work / "metadata.json", "metadata.json")
            archive.add(HERE / "box.Vagrantfile", "Vagrantfile")
            archive.add(work / "box.img", "box.img")
        (work / "new.box").replace(box)
    size_mb = box.stat().st_size / 1e6
    tell(f"box: {box}: {size_mb:.0f} MB in {time.monotonic() - began:.0f} s, kernel {kernel}")


def recipe(sources: tuple[str, ...]) -> lab_image.Recipe:
    """Return what goes into the box: the lab's bare image, and what starts it without UML."""
    none = lab_image.Kernel("", Path())
    bare = lab_image.listed((lab_image.HERE / "bare.txt").read_text())
    install = (str(STEPS / "install.sh"), f"{KERNEL} initramfs-tools zstd")
    steps = (
        lab_image.Step("files", (str(STEPS / "put_files.sh"), str(lab_image.HERE / "tree"))),
        # Before the kernel is installed: these say what its initramfs holds.
        lab_image.Step("box files", (str(STEPS / "put_files.sh"), str(HERE / "tree"))),
        lab_image.Step("kernel", install),
        lab_image.Step("finish", (str(STEPS / "finish.sh"),)),
    )
    return lab_image.Recipe("box", SUITE, sources, bare, none, steps)


def metadata() -> str:
    """Return what Vagrant has to know of the box. The size is in whole GB, rounded up."""
    size_gb = -(-DISK_MB // 1024)
    return json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": size_gb}) + "\n"


def tell(line: str) -> None:
    """Tell a person how far it is."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
