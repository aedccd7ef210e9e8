"""What a sweep showed; reads run records, never live objects."""
