"""The disk that the lab's nodes start from, made here from Debian's packages."""
