# SPDX-License-Identifier: Apache-2.0
"""What a comparison says and does not say, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sfg_med.metrics.comparison import Interval, Paired, lower_is_better
from sfg_med.report.comparison_analysis import Effect, clear_best, ranked, summaries
from sfg_med.report.comparison_data import Comparison

_WORDS = {"mae": "MAE", "psnr": "PSNR", "ssim": "SSIM", "dice": "Dice", "hd95": "HD95", "rmse": "RMSE", "ms": "MS"}
_UNITS = {"hu": "HU", "mm": "mm", "db": "dB"}
Tested = Mapping[str, Mapping[str, Sequence[Effect]]]
"""Baseline to metric to effects."""


def metric_title(name: str) -> str:
    """Readable title of a metric: ``Dice rectum`` for ``dice_rectum``, ``MAE bone (HU)`` for ``mae_bone_hu``."""
    words = name.split("_")
    unit = next((_UNITS[word] for word in words[1:] if word in _UNITS), "")
    text = " ".join(_WORDS.get(word, word) for word in words if _UNITS.get(word, "") != unit or not unit)
    text = text.replace("MS SSIM", "MS-SSIM").replace("Dice mean", "mean Dice")
    return f"{text} ({unit})" if unit else text


def digits(interval: Interval) -> int:
    """Decimals that show three figures of a mean."""
    size = abs(interval.mean)
    return 0 if size >= 1000 or not math.isfinite(size) else 1 if size >= 10 else 2 if size >= 3 else 3


def p_text(p: float) -> str:
    """A p value as papers write it; a dash where there is none."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def finding(comparison: Comparison, metric: str, title: str, tested: Tested) -> str:
    """Say which strategy has the best mean of a metric, and how it stands to the baselines."""
    order = ranked(comparison, metric)
    best = summaries(comparison, metric)[order[0]]
    text = f"{title}: best mean {best.mean:.{digits(best)}f} ({order[0]}"
    if best.n > 1 and len(order) > 1:
        clear = clear_best(comparison, metric) is not None
        text += "; its interval reaches no other mean" if clear else "; its interval reaches the mean of others"
    parts = [f"{text})"]
    for baseline, found in tested.items():
        effect = next((e for e in found[metric] if e.strategy == order[0]), None)
        if effect is not None and not math.isnan(effect.p_holm):
            difference = f"{effect.paired.difference.mean:+.{digits(best)}f}".replace("-", "−")
            p = f"p {p_text(effect.paired.p)}, corrected {p_text(effect.p_holm)}"
            parts.append(f"{difference} against {baseline} ({p})")
    known = [run.result["trivial"][metric] for run in comparison.runs if metric in (run.result.get("trivial") or {})]
    if known:
        parts.append(f"the trivial model, one value everywhere, has {math.fsum(known) / len(known):.{digits(best)}f}")
    return f"{'; '.join(parts)}."


def limits(comparison: Comparison, tested: Tested) -> list[str]:
    """What the numbers of this comparison cannot say."""
    runs = max(len(comparison.of(strategy)) for strategy in comparison.strategies)
    lines = [
        f"Intervals of the means are 95 % intervals of Student's t over the runs ({runs} of a strategy at most); with "
        "few runs they are wide, as they should be."
    ]
    if runs == 1:
        lines = ["One run of each strategy: there are no intervals, and how much another seed changes is not known."]
    effect = next((e for found in tested.values() for row in found.values() for e in row), None)
    if effect is not None and effect.paired.difference.n > 1:
        lines += _tests(effect.paired)
    if any(not lower_is_better(name) for name in comparison.metrics):
        lines.append(
            "The relative gain weighs an error and a score by their own size, so it depends on the choice of metrics."
        )
    lines.append("Training times are wall times and hold for this machine, with whatever else ran on it.")
    return lines


def _tests(paired: Paired) -> list[str]:
    count, smallest = paired.difference.n, paired.smallest_p
    text = (
        f"Tests: the unit is the test case ({count} of them), with its values averaged over the runs. The signs of "
        "the paired differences are flipped; p values are corrected over the strategies by Holm's method. With "
        f"{count} cases an uncorrected p value cannot be below {smallest:.4g}"
    )
    if smallest > 0.05:
        text += ", so that no single difference can be significant at 0.05, however consistent it is"
    return [
        f"{text}.",
        "Intervals of differences are bootstrap intervals over the test cases. They, and the tests, hold for the "
        "networks trained here; the dots show how far other seeds differ. A difference to rely on is on one side of "
        "zero in every run as well.",
    ]
