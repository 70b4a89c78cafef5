"""Side-by-side measurements: each compares beowulf with the plainest thing that does the same."""
