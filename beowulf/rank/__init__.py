"""One rank of a job: the process that ``mpiexec`` starts, and the script inside it."""
