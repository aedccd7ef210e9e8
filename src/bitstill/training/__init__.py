"""What trains a network: tasks, what a Trainer is given, what is written of it."""
