"""A packed student, and the engines that predict with it; imports no torch."""
