"""The published numbers: best test accuracy over the epochs of one run, one seed, in percent."""

TEMPERATURES = (10.0, 15.0, 50.0, 100.0)

# Table 1. The checkpoint sizes are printed as 3.43M and 1.13M.
TEACHER_ACCURACY, TEACHER_CHECKPOINT = 94.3, "3.43M"
HARD_ACCURACY, HARD_CHECKPOINT = 90.0, "1.13M"
HARD_TEMPERATURE = 15.0

# Tables 2 to 4: a loss, and its accuracy at each of TEMPERATURES.
DISTILLED = {
    "soft": (90.0, 90.4, 88.1, 89.9),
    "soft_hard": (90.0, 91.0, 90.1, 90.3),
    "gt_soft_hard": (90.2, 91.4, 90.0, 90.6),
}

TWO_TERMS = ("soft_hard", "gt_soft_hard")
"""The published losses with a factor c."""

TITLES = {
    "hard": "Table 1: student from ground truth only (hard)",
    "soft": "Table 2: soft targets only (soft)",
    "soft_hard": "Table 3: hard and soft targets (soft_hard)",
    "gt_soft_hard": "Table 4: ground truth in both terms (gt_soft_hard)",
}


def title(loss: str) -> str:
    """Return a loss's heading."""
    return TITLES.get(loss, f"{loss}: a loss that nothing was published on")
