"""What importing Lightning leaves behind."""

import subprocess
import sys


def modules_after(program: str) -> set[str]:
    """Run a program in a fresh interpreter, and return the names of its modules."""
    command = [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_run_imports_no_scipy_signal_and_leaves_it_as_it_is() -> None:
    program = (
        "import bitstill.train, sys; assert 'scipy.signal' not in sys.modules;"
        "import scipy.signal; assert scipy.signal.windows.hamming(3)[1] == 1;"
        "assert scipy.signal.lfilter([1.0], [1.0], [2.0])[0] == 2"
    )
    assert {"pytorch_lightning", "torchmetrics", "scipy.signal"} <= modules_after(program)


def test_scipy_signal_stays_where_it_was_imported_before() -> None:
    program = (
        "import scipy.signal, sys; before = sys.modules['scipy.signal'];"
        "import bitstill.lightning; assert sys.modules['scipy.signal'] is before"
    )
    assert "pytorch_lightning" in modules_after(program)
