"""``bitstill report`` from end to end."""

import csv
import io
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from tests.asked import absent
from tests.report.conftest import scattered, write_run, write_sweep
from typer.testing import CliRunner

from bitstill.cli import app, main
from bitstill.errors import UserError
from bitstill.report.command import run_report, show
from bitstill.report.content import build
from bitstill.report.figures import figure
from bitstill.report.machine import run_rows
from bitstill.report.sweeps import RunSet, read_sweep
from bitstill.report.table import encoded
from bitstill.runs import RunPaths
from bitstill.runs.manifest import write_manifest

RUN = CliRunner()
OF_SETS = (
    *("tables/set2-claims.md", "figures/set1-accuracy.svg"),
    *("tables/comparison-2.tex", "tables/sets.md"),
)


def made(folder: Path) -> Path:
    cells = [("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0)]
    return write_sweep(folder / "one", scattered, seeds=range(3), cells=cells)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return made(tmp_path)


class Reported(NamedTuple):
    """What the command makes of the sweep, for tests that only look at it."""

    sweep: Path
    output: Path
    code: int
    said: str


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("reported")
    sweep, output = made(folder), folder / "out"
    result = RUN.invoke(app, ["report", str(sweep), "--output", str(output)])
    return Reported(sweep, output, result.exit_code, result.output)


def test_it_writes_everything_and_says_where(reported: Reported) -> None:
    _, output, code, said = reported
    assert code == 0, said
    assert said.rstrip().endswith(f"Page: {output / 'index.html'}")
    assert "12 of 12 runs finished, 3 seeds" in said
    for name in ("claims", "table1", "table2", "sizes", "noise", "seeds", "robustness", "tests"):
        assert (output / f"tables/{name}.md").exists()
        assert (output / f"tables/{name}.tex").exists()
    for name in ("accuracy", "curves-soft"):
        with (output / f"figures/{name}.csv").open() as file:
            assert len(list(csv.reader(file))) > 3
        assert (output / f"figures/{name}.svg").read_text().startswith("<svg")
        assert (output / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "figures/flow.svg").exists()


@pytest.mark.parametrize("terminal", ["1", "0"])
def test_it_shows_in_a_terminal_that_it_is_at_work(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    run_report([sweep], None)
    out, err = capsys.readouterr()
    assert ("reporting" in err) == (terminal == "1")
    assert "reporting" not in out
    assert "Page: " in out


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_said_meanwhile_stays_as_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stream: str,
) -> None:
    """A bar of images that are decoded draws over itself, and a path is wider than a terminal."""
    said = f"\r{'decoding ' * 20}"

    def saying(_: object) -> None:
        getattr(sys, stream).write(said)
        getattr(sys, stream).flush()
        raise UserError("enough")

    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr("bitstill.report.command.build", saying)
    with pytest.raises(UserError, match="enough"):
        run_report([tmp_path], None)
    assert said in getattr(capsys.readouterr(), stream[3:])


def test_files_of_an_earlier_report_do_not_stay_beside_it(sweep: Path, tmp_path: Path) -> None:
    """Of one with several sets or sweeps, say."""
    earlier = [tmp_path / one for one in OF_SETS]
    own = [tmp_path / one for one in ("tables/claims.txt", "figures/set1-mine.svg", "notes.md")]
    own += [tmp_path / one for one in ("sets.md", "comparison-1.tex", "set1-runs.csv")]
    for path in (*earlier, *own):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert RUN.invoke(app, ["report", str(sweep), "--output", str(tmp_path)]).exit_code == 0
    assert not any(path.exists() for path in earlier)
    assert all(path.exists() for path in own)
    assert (tmp_path / "tables/claims.md").exists()


def test_report_json_has_the_numbers(reported: Reported) -> None:
    (found,) = json.loads((reported.output / "report.json").read_text())["sets"]
    cell = found["cells"]["soft T=15"]["accuracies"]["running/last"]
    values = [scattered("soft", 15.0, seed) for seed in range(3)]
    assert list(cell["by_seed"].values()) == pytest.approx(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert [cell["mean"], cell["low"], cell["high"]] == pytest.approx([np.mean(values), low, high])
    claims = {one["claim"]: one for one in found["claims"][found["verdicts_rest_on"]]}
    assert claims["e"]["verdict"] is None  # the last of the letter: soft_hard is not there
    assert claims["f"]["comparisons"][0]["mcnemar_p"].keys() == {"0", "1", "2"}


def test_missing_failed_and_far_cells_are_said(sweep: Path, tmp_path: Path) -> None:
    error = {"type": "ValueError", "message": "exploded", "traceback": "..."}
    write_run(sweep, "soft", 50.0, 0, 10.0, status="failed", error=error)
    far = write_run(sweep, "soft", 15.0, 3, 20.0)
    later = [(f"soft T={value}", seed) for value in (30, 100) for seed in range(3)]
    write_manifest(sweep, [absent(sweep, *one) for one in later])
    result = RUN.invoke(app, ["report", str(sweep), "--output", str(tmp_path / "out")])
    rows = (tmp_path / "out/tables/table2.md").read_text().splitlines()
    assert "| 50 | 88.1 | running | failed | failed | failed | — | 0/4 |" in rows
    assert "| 100 | 89.9 | running | missing | missing | missing | — | 0/4 |" in rows
    assert "| 30 | — | running | missing | missing | missing | — | 0/4 |" in rows
    page = (tmp_path / "out/index.html").read_text()
    assert "exploded" in page
    named = "Far below all other students, but included in all numbers: soft T=15 seed 3 (20.0 %);"
    assert named in page
    assert named in " ".join(result.output.split())
    [found] = json.loads((tmp_path / "out/report.json").read_text())["sets"]
    assert found["far_out"] == [str(far.directory)]
    assert result.exit_code == 0


def test_what_no_run_was_asked_for_takes_no_room(reported: Reported) -> None:
    """Published rows at other T, and statements about other losses: they are counted, and why
    there is no answer stands with the tests."""
    output = reported.output
    tables = {name: (output / f"tables/{name}.md").read_text() for name in ("claims", "tests")}
    rows = (output / "tables/table2.md").read_text().splitlines()
    assert [row.split(" | ")[0] for row in rows[4:8]] == ["| 10", "| 10", "| 15", "| 15"]
    letters = re.findall(r"^\| \((.)\)", tables["claims"], re.MULTILINE)
    assert letters == ["e", "f", "g"]
    assert "11 statements not shown, for want of runs." in tables["claims"]
    assert len(re.findall(r"^\| \((.)\)", tables["tests"], re.MULTILINE)) == 14
    assert "no finished run of soft T=50, soft T=100" in tables["tests"]


def test_a_sweep_without_any_number_is_reported(tmp_path: Path) -> None:
    """Stopped in its first teacher, say."""
    sweep, output = tmp_path / "begun", tmp_path / "out"
    begun = write_run(sweep, "teacher", None, 0, 10.0, status="interrupted")
    plain = json.loads(begun.record.read_text())
    begun.record.write_text(json.dumps(plain | {"selections": {}}))
    result = RUN.invoke(app, ["report", str(sweep), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "0 of 1 runs finished, 1 seed." in " ".join(result.output.split())
    assert not list(output.glob("figures/accuracy*"))
    assert (output / "index.html").exists()


def test_records_alone_are_enough_and_what_is_not_drawn_is_said(reported: Reported) -> None:
    output, said = reported.output, " ".join(reported.said.split())
    assert "Not drawn, for want of data: soft targets (from the teacher's logits);" in said
    assert (
        "calibration (from weights of students at T = 15 or of a teacher, and the images)." in said
    )
    assert "Not drawn, for want of data" in (output / "index.html").read_text()
    (found,) = json.loads((output / "report.json").read_text())["sets"]
    missing = ["soft targets", "gradients", "quantized weights", "size against accuracy"]
    assert list(found["left_out"]) == [*missing, "calibration"]


def test_verdicts_can_be_read_in_a_terminal_of_80_columns(make_set: Callable[..., RunSet]) -> None:
    report = build([make_set(scattered, seeds=range(3)).folder])
    file = io.StringIO()
    show(report, Console(file=file, width=80))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for finding in report.sets[0].main_findings:
        assert f" {finding.verdict or 'no verdict'} " in text


def test_two_sweeps_are_compared_pair_by_pair(sweep: Path, tmp_path: Path) -> None:
    def better(loss: str, temperature: float | None, seed: int) -> float:
        return scattered(loss, temperature, seed) + 1 + seed / 10

    cells = [("hard", 15.0), ("soft", 15.0)]
    other = write_sweep(tmp_path / "two", better, seeds=range(3), cells=cells)
    output = tmp_path / "out"
    result = RUN.invoke(app, ["report", str(sweep), str(other), "--output", str(output)])
    assert result.exit_code == 0, result.output
    table = (output / "tables/comparison-1.md").read_text()
    differences = [1.0, 1.1, 1.2]
    low, high = stats.t.interval(0.95, 2, 1.1, stats.sem(differences))
    p = 2 * stats.ttest_1samp(differences, 0).pvalue  # Holm over two cells
    assert f"+1.10 [{low:+.2f}, {high:+.2f}] | {p:.3f}" in table
    assert "| teacher |" not in table
    assert "differ in" not in table
    [found] = json.loads((output / "report.json").read_text())["comparisons"]
    soft = next(one for one in found["cells"] if one["cell"] == "soft T=15")
    assert list(soft["second"].values()) == pytest.approx([better("soft", 15, n) for n in range(3)])
    assert soft["difference"] == pytest.approx({"estimate": 1.1, "low": low, "high": high})
    assert soft["p"] == pytest.approx(p)


def test_runs_are_rows_for_programs(reported: Reported) -> None:
    output = reported.output
    rows = list(csv.DictReader((output / "runs.csv").read_text("utf-8").splitlines()))
    runs = read_sweep(reported.sweep)
    assert len(rows) == len(runs)
    [row] = [row for row in rows if row["folder"] == "soft-15.0-2"]
    assert [row[name] for name in ("loss", "temperature", "seed")] == ["soft", "15", "2"]
    assert float(row["test accuracy, last, running"]) == pytest.approx(scattered("soft", 15.0, 2))
    [found] = json.loads((output / "report.json").read_text())["sets"]
    [run] = [run for run in found["runs"] if (run["cell"], run["seed"]) == ("soft T=15", 2)]
    assert run["accuracies"]["running/last"] == pytest.approx(scattered("soft", 15.0, 2))


def test_what_tells_sets_apart_is_a_column(tmp_path: Path) -> None:
    """A loss's own setting, which runs of other losses do not have."""
    sweep, output = tmp_path / "mine", tmp_path / "out"
    write_run(sweep, "hard", 15.0, 0, 88.0)
    for seed, alpha in enumerate((0.1, 0.5)):
        paths = write_run(sweep, "mine", 15.0, seed, 88.0)
        plain = json.loads(paths.record.read_text())
        plain["config"]["loss"]["alpha"] = alpha
        paths.record.write_text(json.dumps(plain))
    RUN.invoke(app, ["report", str(sweep), "--output", str(output)])
    rows = list(csv.DictReader((output / "runs.csv").read_text("utf-8").splitlines()))
    assert [(row["loss"], row["mine.alpha"]) for row in rows] == [
        *(("hard", ""), ("mine", "0.1")),
        *(("hard", ""), ("mine", "0.5")),
    ]
    assert "schedule.epochs" not in rows[0]


def test_sets_of_several_sweeps_are_told_apart(sweep: Path, tmp_path: Path) -> None:
    """In each table's title and LaTeX label; one that shares no cell is named."""
    other = write_sweep(tmp_path / "two", scattered, seeds=range(2), cells=[("soft", 3.0)])
    output = tmp_path / "out"
    result = RUN.invoke(app, ["report", str(sweep), str(other), "--output", str(output)])
    assert result.exit_code == 0, result.output
    latex = (output / "tables/set1-table2.tex").read_text()
    assert rf"\caption{{{sweep}: Table 2".replace("_", r"\_") in latex
    assert r"\label{tab:set1-table2}" in latex
    rows = (output / "tables/sets.md").read_text().splitlines()
    assert rows[4:6] == [
        f"| {sweep} | 12 of 12 | 3 | 0 | 0 | 0 | 14 | 0 |",
        f"| {other} | 2 of 2 | 2 | 0 | 0 | 0 | 14 | 0 |",
    ]
    assert "Sets of runs" in result.output
    drawn = [path.name for path in output.glob("figures/*flow.svg")]
    assert drawn == ["set1-flow.svg"]  # it is the same for all
    said = f"Not compared, for want of a cell with other runs in another sweep: {sweep}, {other}."
    assert said in " ".join(result.output.split())
    assert said in (output / "index.html").read_text()
    assert not list(output.glob("tables/comparison*"))


def test_what_two_sweeps_differ_in_is_said(sweep: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 9, "batch_size": 32}
    cells = [("hard", 15.0)]
    other = write_sweep(tmp_path / "two", scattered, seeds=[0], cells=cells, schedule=schedule)
    output = tmp_path / "out"
    RUN.invoke(app, ["report", str(sweep), str(other), "--output", str(output)])
    text = (output / "tables/comparison-1.md").read_text()
    assert "The sets differ in schedule.epochs." in text
    assert text.startswith(f"**{sweep} and {other}, cell by cell**")


@pytest.mark.parametrize("arguments", [["nowhere"], ["."]])
def test_a_folder_without_runs_is_one_line_and_exit_2(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bitstill", "report", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bitstill: {arguments[0]} ")


def test_a_sweep_is_not_compared_with_itself(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep)
    with pytest.raises(UserError, match=r"one and \. are one folder: give each sweep once$"):
        build([sweep, Path()])


def test_an_output_that_cannot_be_written_is_one_line(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file")
    monkeypatch.setattr("sys.argv", ["bitstill", "report", str(sweep), "--output", output])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_run_that_cannot_be_read_is_not_said_of_the_output(sweep: Path) -> None:
    paths = RunPaths(sweep / "hard-15.0-0")
    paths.overrides.parent.mkdir()
    paths.overrides.symlink_to(paths.overrides)  # a loop, which nobody can read
    with pytest.raises(UserError, match=r"overrides\.yaml cannot be read .*: move it away$"):
        run_report([sweep], None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.html", "<h1>mine</h1>"),
        ("report.json", '{"displayName": "bitstill: mine"}'),
        ("runs.csv", "mine"),
    ],
)
def test_files_of_others_are_not_replaced(
    sweep: Path, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name} is not of an earlier report: .* another folder"):
        run_report([sweep], tmp_path)
    assert (tmp_path / name).read_text() == content
    assert not (tmp_path / "tables").exists()


def test_too_few_addresses_to_draw_with_are_said(sweep: Path, tmp_path: Path) -> None:
    """What draws would end the process, and a training with loggers in it."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    figure._renderer.cache_clear()
    resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, limits[1]))
    try:
        with pytest.raises(UserError, match=r"^figures cannot be drawn \(Cannot .* ulimit -v"):
            run_report([sweep], tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_closed_streams_are_no_error(sweep: Path, tmp_path: Path) -> None:
    line = f"{sys.executable} -m bitstill report {sweep} --output {tmp_path / 'out'} >&- 2>&-"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0  # noqa: S603, S607
    assert (tmp_path / "out" / "index.html").exists()


def test_reading_records_imports_no_torch(sweep: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bitstill.report.content import build; "
        f"print(build([Path({str(sweep)!r})]).sets[0].runs.cells); "
        "assert not {'torch', 'pandas', 'vl_convert'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


def test_what_a_sweep_says_is_no_formula(tmp_path: Path) -> None:
    for seed, value in enumerate(("=1+1", "@x")):
        paths = write_run(tmp_path, "hard", 15.0, seed, 88.0, name="-mine")
        plain = json.loads(paths.record.read_text())
        plain["identity"] = f"+{seed}"
        plain["config"] = {"=0": {"x": value}} | plain["config"]
        paths.record.write_text(json.dumps(plain))
        paths.directory.rename(tmp_path / f"={seed}")
    rows = run_rows(build([tmp_path]))
    texts = [one for row in rows for cell in row.items() for one in cell if isinstance(one, str)]
    assert {"'=0", "'=1", "'+0", "'+1", "'=0.x", "'=1+1", "'@x"} <= set(texts)
    assert not [one for one in texts if one.startswith(("=", "+", "-", "@"))]


def test_names_of_files_may_be_no_utf8() -> None:
    assert encoded("a\udcff") == b"a\\udcff"
