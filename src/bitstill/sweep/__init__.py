"""Many runs: planning them, launching them, and showing progress."""
