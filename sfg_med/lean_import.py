# SPDX-License-Identifier: Apache-2.0
"""A quicker start: packages that MONAI imports because they are there, and that nothing here uses through it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Nearly half of the time that `import monai` takes. Whoever needs one imports it later, as ever.
UNUSED = ("matplotlib", "mlflow", "sklearn", "torch.distributed.optim")


def hide_from_monai() -> None:
    """While MONAI is imported for the first time, if it is, make it find none of ``UNUSED``; once for the process."""
    if "monai" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "monai":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        hidden = [name for name in UNUSED if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: not to be found
        try:
            self.own.exec_module(module)
        finally:
            for name in hidden:
                sys.modules.pop(name, None)
