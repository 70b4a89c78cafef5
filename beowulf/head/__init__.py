"""What a client runs on the cluster's head: jobs are kept, given to Slurm and told about.

The client copies this package there, with the parts of beowulf that it needs, and starts
it with the head's own Python. So it needs nothing but Python's standard library, and
client and head never differ in version.
"""
