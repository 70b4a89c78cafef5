"""What runs inside ``mpiexec``: modules that measure and let rank 0 write what they found."""
