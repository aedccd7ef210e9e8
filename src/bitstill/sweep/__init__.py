"""Many runs: which there are, in which order, who does them, what is said meanwhile."""
