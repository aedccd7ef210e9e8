"""What importing Lightning leaves behind."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def modules_after(program: str) -> set[str]:
    """Run a program in a fresh interpreter, and return the names of its modules."""
    command = [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_run_imports_no_scipy_signal_and_no_compiler_and_leaves_them_as_they_are() -> None:
    program = (
        "import bitstill.train, sys; assert 'scipy.signal' not in sys.modules;"
        "assert not {'torch._dynamo.config', 'torch.distributed.fsdp', 'sympy'} & {*sys.modules};"
        "import scipy.signal; assert scipy.signal.windows.hamming(3)[1] == 1;"
        "assert scipy.signal.lfilter([1.0], [1.0], [2.0])[0] == 2;"
        "import torch._dynamo.config; assert torch._dynamo.config.suppress_errors is False"
    )
    assert {
        "pytorch_lightning",
        "torchmetrics",
        "scipy.signal",
        "torch._dynamo.utils",
    } <= modules_after(program)


def test_a_whole_run_imports_no_compiler(few_images: tuple[str, ...], tmp_path: Path) -> None:
    chosen = [*few_images, "loss=soft_hard", "schedule.epochs=1", f"paths.output={tmp_path}"]
    program = f"from bitstill.application import train; assert train({chosen!r}) == 0"
    modules = modules_after(program)
    assert "pytorch_lightning" in modules
    assert not {"torch._dynamo.utils", "torch._inductor", "sympy", "scipy.signal"} & modules
    assert list(tmp_path.rglob("student.bitstill"))


def test_a_gpu_that_is_not_asked_for_is_not_talked_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitstill.training.lightning import pl, quiet_lightning

    monkeypatch.setattr(pl.accelerators.CUDAAccelerator, "is_available", lambda: True)

    def trainer() -> None:
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*srun")  # where Slurm is installed
        with pytest.raises(UserWarning, match="GPU available but not used"):
            trainer()
        with quiet_lightning():
            trainer()


def test_whoever_compiles_has_the_compiler_and_can_train_what_is_compiled() -> None:
    """Lightning keeps the class that it has found when it was imported."""
    program = (
        "import bitstill.train, torch, pytorch_lightning as pl, warnings;"
        "from pytorch_lightning.utilities.compile import _maybe_unwrap_optimized as unwrapped;"
        "warnings.simplefilter('ignore'); module = pl.LightningModule();"
        "assert unwrapped(module) is module;"
        "double = torch.compile(lambda x: 2 * x, backend='eager');"
        "assert double(torch.ones(1)) == 2;"
        "assert torch.compiler.disable(double)(torch.ones(1)) == 2;"
        "assert torch._dynamo.OptimizedModule.__module__ == 'torch._dynamo.eval_frame';"
        "assert unwrapped(torch.compile(module, backend='eager')) is module"
    )
    assert "torch._dynamo.utils" in modules_after(program)


def test_what_was_imported_before_stays() -> None:
    program = (
        "import scipy.signal, torch._dynamo as dynamo, sys; signal = sys.modules['scipy.signal'];"
        "import bitstill.training.lightning; assert sys.modules['scipy.signal'] is signal;"
        "import torch; assert sys.modules['torch._dynamo'] is torch._dynamo is dynamo"
    )
    assert {"pytorch_lightning", "torch._dynamo.utils"} <= modules_after(program)
