"""Compiles the C kernel while bitstill is being installed, if there is a compiler."""

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ENGINE = Path("src/bitstill/engine")


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernel to a wheel or an editable install; without, numba and torch run."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel, and tag the wheel with this platform if that succeeded."""
        engine = Path(self.root) / ENGINE
        # The package itself cannot be imported here: its dependencies are not installed yet.
        compiler = runpy.run_path(str(engine / "compiler.py"))
        reason = compiler["compile_kernel"]()
        if reason is not None:
            self.app.display_warning(f"bitstill without its C kernel: {reason}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(str(ENGINE / "_kernel.so"))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"  # the library is independent of Python
