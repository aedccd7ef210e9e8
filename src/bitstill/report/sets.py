"""Groups runs into sets that may be compared."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bitstill.errors import UserError
from bitstill.report.settings import arithmetic, rules, settings, teacher_settings
from bitstill.report.sweeps import Run, RunSet, sweep_name
from bitstill.runs import RunRecord

_Group = tuple[dict[str, str], list[Run]]  # the settings that runs share, and the runs


def run_sets(runs: Iterable[Run]) -> list[RunSet]:
    """Group runs into sets that may stand in the same tables.

    The students of a set share data, schedule, quantizer, their teachers' schedule, the rules for
    the factor c and for their teachers' seeds, a loss's own settings, and everything else but loss,
    temperature and seeds. A teacher belongs to every set of students that could have read it.
    Students of a loss without c, or without a teacher, belong to each of the sets that differ only
    in c, or in the teacher. Teachers without students form sets, too.

    Raises:
        UserError: two finished runs have the same settings and seed.
    """
    runs = list(runs)
    groups: list[_Group] = []
    for shared, alike in _alike(run for run in runs if not run.record.is_teacher):
        for schedule, like in _by_teachers_schedule(alike):
            for followed, members in _by_rules(like):
                groups.append((shared | schedule | followed, _with_teachers(members, runs)))
    placed = {id(run) for _, members in groups for run in members}
    groups += _alike(run for run in runs if id(run) not in placed)
    for _, members in groups:
        _refuse_twins(members)
    names = _names(sweep_name(runs) if runs else "", [shared for shared, _ in groups])
    return [
        RunSet(name, members, shared) for name, (shared, members) in zip(names, groups, strict=True)
    ]


def _refuse_twins(runs: Iterable[Run]) -> None:
    """Refuse two results for one seed of a cell, which different versions of bitstill may leave."""
    seen: dict[tuple[str, int], Run] = {}
    for run in runs:
        if run.done:
            record, where = run.record, run.paths.directory
            twin = seen.setdefault((record.cell, record.seed), run)
            if twin.record.identity != record.identity:
                raise UserError(
                    f"{where.parent} holds two finished runs of {record.cell} seed {record.seed} "
                    f"with the same settings, {twin.paths.directory.name} and {where.name}: move "
                    "that of the older bitstill away"
                )


def _alike(runs: Iterable[Run]) -> list[_Group]:
    """Group runs by their settings."""
    found: dict[frozenset[tuple[str, str]], _Group] = {}
    for run in runs:
        shared = settings(run.record)
        found.setdefault(frozenset(shared.items()), (shared, []))[1].append(run)
    return list(found.values())


def _by_teachers_schedule(runs: list[Run]) -> list[_Group]:
    """Group runs by their teachers' schedules; those without a teacher belong to every group."""
    known = [teacher_settings(run.record) for run in runs]
    found = {frozenset(one.items()): one for one in known if one}
    return [
        (one, [run for run, own in zip(runs, known, strict=True) if own in ({}, one)])
        for one in found.values()
    ] or [({}, runs)]


def _by_rules(runs: list[Run]) -> list[_Group]:
    """Group runs by every rule that any of them may follow."""
    groups: list[_Group] = [({}, runs)]
    names = {name for run in runs for name in rules(run.record)}
    for name in sorted(names, reverse=True):  # so names read: teacher.seed, soft_weight, mine.*
        groups = [
            (followed | one, members)
            for followed, alike in groups
            for one, members in _by_rule(alike, name)
        ]
    return groups


def _by_rule(runs: list[Run], name: str) -> list[_Group]:
    """Group runs by the fewest rules that explain all of them; a run may fit several.

    A rule that many runs follow comes before one that fits a few by chance: c = 100 at T = 10, 15
    and 50 is not T^2. Runs to which no such rule applies belong to every group.
    """
    known = [rules(run.record).get(name, []) for run in runs]
    likeliest_first = itertools.chain.from_iterable(itertools.zip_longest(*known))
    followers = Counter(rule for rule in likeliest_first if rule is not None)
    chosen: set[str] = set()
    for rule, _ in followers.most_common():
        if any(rule in one and chosen.isdisjoint(one) for one in known):
            chosen.add(rule)
    return [
        (
            {name: rule},
            [run for run, one in zip(runs, known, strict=True) if not one or rule in one],
        )
        for rule in followers
        if rule in chosen
    ] or [({}, runs)]


def _names(name: str, sets: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a name for each set: the sweep's, with the settings that are unusual in it."""
    columns: dict[str, tuple[str | None, ...]] = {}
    for key in itertools.chain.from_iterable(sets):
        column = tuple(one.get(key) for one in sets)
        if column != columns.get(key.removeprefix("teacher.")):  # the student's, which says it
            columns[key] = column
    usual: dict[str, str] = {}  # by setting: the majority's value, or none
    for key, column in columns.items():
        values = Counter(value for value in column if value is not None)
        if len(values) > 1:
            [(value, count)] = values.most_common(1)
            usual[key] = value if 2 * count > values.total() else ""
    names = []
    for one in sets:
        differing = {key: one[key] for key in usual if key in one}
        own = {key: value for key, value in differing.items() if value != usual[key]}
        told = ", ".join(f"{key}={value}" for key, value in (own or differing).items())
        names.append(f"{name} ({told})" if told else name)
    if len(set(names)) < len(names):  # where sets differ only in lacking a setting
        names = [f"{name} ({number} of {len(sets)})" for number in range(1, len(sets) + 1)]
    return names


def _with_teachers(students: list[Run], runs: Iterable[Run]) -> list[Run]:
    """Return students after the teachers that one of them reads, or could read."""
    reader = next((run for run in students if run.record.teacher_identity), students[0])
    return [*(run for run in runs if _teaches(run.record, reader.record)), *students]


def _teaches(teacher: RunRecord, student: RunRecord) -> bool:
    """Whether a run is a teacher that a student's configuration could name, seeds aside."""
    return (
        teacher.is_teacher
        and teacher.data_identity == student.data_identity
        and teacher.config["schedule"] == student.config["teacher"]["schedule"]
        and arithmetic(teacher) == arithmetic(student)
        and all(teacher.config[key] == student.config[key] for key in ("batch_norm", "evaluation"))
    )
