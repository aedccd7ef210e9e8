"""Reports on sweeps; reads run records, never live objects."""
