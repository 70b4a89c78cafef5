"""Keep plain ``pytest`` from the libvirt proof, which takes a quarter of an hour: name the file."""

collect_ignore = ["test_libvirt.py"]
