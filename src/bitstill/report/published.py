"""The published numbers: best test accuracy over the epochs of one run, one seed, in percent."""

TEMPERATURES = (10.0, 15.0, 50.0, 100.0)

# Table 1, whose M stands for MiB.
TEACHER_ACCURACY, TEACHER_MEBIBYTES = 94.3, 3.43
HARD_ACCURACY, HARD_MEBIBYTES = 90.0, 1.13
HARD_TEMPERATURE = 15.0

# Students: the accuracy of each loss at each published temperature.
ACCURACIES = {
    "soft": {10.0: 90.0, 15.0: 90.4, 50.0: 88.1, 100.0: 89.9},
    "soft_hard": {10.0: 90.0, 15.0: 91.0, 50.0: 90.1, 100.0: 90.3},
    "gt_soft_hard": {10.0: 90.2, 15.0: 91.4, 50.0: 90.0, 100.0: 90.6},
    "hard": {HARD_TEMPERATURE: HARD_ACCURACY},
}

DISTILLED = ("soft", "soft_hard", "gt_soft_hard")
"""The losses of Tables 2 to 4."""

TWO_TERMS = ("soft_hard", "gt_soft_hard")
"""The published losses with a factor c."""

TITLES = {
    "hard": "Table 1: student from ground truth only (hard)",
    "soft": "Table 2: soft targets only (soft)",
    "soft_hard": "Table 3: hard and soft targets (soft_hard)",
    "gt_soft_hard": "Table 4: ground truth in both terms (gt_soft_hard)",
}


def title(loss: str) -> str:
    """Return a loss's title."""
    return TITLES.get(loss, f"{loss}: a loss that nothing was published on")
