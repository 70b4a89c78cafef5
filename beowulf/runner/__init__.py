"""A job's life: what was asked, its directory, starting it, watching it, telling about it."""
