"""The job directory: the files through which the controller and the ranks talk.

Both sides import this package and nothing of each other: what runs on the
controller never imports mpi4py, what runs inside a job never imports click.
"""
