# SPDX-License-Identifier: Apache-2.0
"""What most commands load, for the process that they are forked from."""

from importlib import import_module

from sfg_med.lean_import import hide_from_monai

hide_from_monai()
# Training first: MONAI, where it is imported without it, finds no ignite.
for module in ("sfg_med.training", "sfg_med.inference", "sfg_med.report.evaluation_run"):
    import_module(module)
