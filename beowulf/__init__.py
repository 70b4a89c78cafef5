"""Turn a closet of cast-off PCs into a training cluster."""

__version__ = "0.1.0"
