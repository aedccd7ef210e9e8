"""A student that is small and fast: packed file, engines, and files for other runtimes."""
