# SPDX-License-Identifier: Apache-2.0
"""``results.csv`` and ``index.html`` of a comparison, from the files that its runs leave."""

import csv
import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from sfg_med.errors import SfgMedError
from sfg_med.metrics.comparison import paired_comparison
from sfg_med.report.comparison_analysis import clear_best, effects, gains
from sfg_med.report.comparison_data import Run, read_comparison
from sfg_med.report.comparison_page import Options, write_comparison
from sfg_med.report.comparison_words import metric_title

OPTIONS = Options("What <should> they share?", ["mae_hu", "dice_mean"], notes=["The data are simulated."])
LAYERS = ["encoder.0.0.conv", "encoder.1.0.conv", "reduce.0.conv", "decoder.0.0.conv"]


def add_run(out, strategy, seed, errors, fold=0, **changes):
    """A finished run: ``errors`` are the CT errors of its cases; Dice is 1 - error / 100."""
    folder = out / "runs" / strategy / f"seed{seed}-fold{fold}"
    folder.mkdir(parents=True)
    rows = [
        {"case": f"case{i}", "mae_hu": e, "dice_mean": 1 - e / 100, "hd95_mm_rectum": ""} for i, e in enumerate(errors)
    ]
    with (folder / "cases.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    mean = sum(errors) / len(errors)
    result = {"strategy": strategy, "seed": seed, "fold": fold, "steps": 9, "samples": 1}
    result |= {"metrics": {"mae_hu": mean, "dice_mean": 1 - mean / 100, "hd95_mm_rectum": None}}
    result |= {"parameters": 1_500_000, "gflops": 12.5, "seconds": 90.0, **changes}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def out(tmp_path):
    """Two baselines and a better strategy, two seeds each, three cases."""
    for seed in (0, 1):
        add_run(tmp_path, "hard-sharing", seed, [40 + seed, 42, 44])
        add_run(tmp_path, "single-task", seed, [41, 43 + seed, 45])
        add_run(tmp_path, "sfg", seed, [30, 33 - seed, 36])
    return tmp_path


def test_page_and_table_hold_the_numbers_of_the_files(out, self_contained):
    folder = add_run(out, "mtan", 0, [50, 51, 52])
    (folder / "result.json").unlink()
    (folder / "error.txt").write_text("Traceback\nRuntimeError: no <memory>\n")
    planned = [(s, seed, 0) for s in ("single-task", "hard-sharing", "sfg", "mtan") for seed in (0, 1)]
    page = self_contained(write_comparison(out, OPTIONS, planned).read_text())
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert figures >= {"metrics", "scatter", "differences_from_hard-sharing"}
    for path in (out / "figures").iterdir():  # each a picture of its own
        assert ElementTree.fromstring(path.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
    for text in (
        "What <should> they share?",
        "6 runs of 3 strategies, seeds 0, 1; 2 missing",
        "The data are simulated.",
        "sfg 32.8 ",
        "1.50 12.5 1.5 1 2",
        "mtan, seed 0, fold 0: failed: RuntimeError: no <memory>",
        "mtan, seed 1, fold 0: not started",
        "cannot be below 0.25, so that no single difference can be significant",
    ):
        assert text in page.words
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [row["strategy"] for row in rows] == ["single-task"] * 2 + ["hard-sharing"] * 2 + ["sfg"] * 2
    assert float(rows[4]["mae_hu"]) == 33.0
    assert list(rows[0]) == [
        *("strategy", "seed", "fold", "mae_hu", "dice_mean", "parameters", "gflops", "seconds", "samples"),
    ]


def test_effects_pair_runs_of_one_seed_and_average_over_seeds_by_case(out):
    comparison = read_comparison(out)
    found = {effect.strategy: effect for effect in effects(comparison, "mae_hu", "hard-sharing")}
    by_case = [(-10 - 11) / 2, (-9 - 10) / 2, -8]
    assert found["sfg"].paired == paired_comparison(by_case)
    assert found["sfg"].runs == pytest.approx([-9.0, (30 + 32 + 36 - 41 - 42 - 44) / 3])
    assert found["sfg"].p_holm == min(1, 2 * found["sfg"].paired.p)
    assert set(found) == {"single-task", "sfg"}


def test_a_run_without_its_counterpart_is_left_out_of_the_differences(out):
    add_run(out, "sfg", 2, [0, 0, 0])
    effect = effects(read_comparison(out), "mae_hu", "hard-sharing")[0]
    assert effect.strategy == "sfg"
    assert len(effect.runs) == 2


def test_gain_over_single_task(out):
    found = gains(read_comparison(out), ["mae_hu", "dice_mean"], "single-task")
    expected = []
    for ours, theirs in ((33.0, 43.0), (98 / 3, 130 / 3)):
        expected.append(((theirs - ours) / theirs + (theirs - ours) / 100 / (1 - theirs / 100)) / 2)
    assert found["sfg"].mean == pytest.approx(np.mean(expected))
    assert found["single-task"].mean == 0


def test_best_is_bold_only_where_its_interval_reaches_no_other_mean(out):
    assert clear_best(read_comparison(out), "mae_hu") == "sfg"
    assert re.search(r"<strong>32\.8</strong>", write_comparison(out, OPTIONS).read_text())
    add_run(out, "mtan", 0, [33, 33, 33.1])
    add_run(out, "mtan", 1, [33, 33, 33.1])
    assert clear_best(read_comparison(out), "mae_hu") is None
    assert "<strong>" not in write_comparison(out, OPTIONS).read_text()


def test_the_trivial_model_is_named_beside_the_best(out):
    add_run(out, "mtan", 0, [33, 33, 33.1], trivial={"mae_hu": 87.44})
    assert "the trivial model, one value everywhere, has 87.4." in write_comparison(out, OPTIONS).read_text()


def test_strategies_are_described(out, self_contained):
    options = replace(OPTIONS, summaries={"sfg": "kernels learn <groups>", "unused": "not on the page"})
    words = self_contained(write_comparison(out, options).read_text()).words
    assert "sfg kernels learn <groups>" in words
    assert "not on the page" not in words


def test_one_seed_one_strategy_and_no_cases(tmp_path, self_contained):
    folder = add_run(tmp_path, "sfg", 0, [30, 31])
    (folder / "cases.csv").unlink()
    page = self_contained(write_comparison(tmp_path, OPTIONS).read_text())
    assert "One run of each strategy" in page.words
    assert "Differences" not in page.words
    assert "nan" not in page.words.lower().split()


def test_other_metrics_than_asked_for(tmp_path, self_contained):
    metrics = {"mae_age": 8.25, "accuracy_gender": 0.9}
    for strategy in ("hard-sharing", "sfg"):
        add_run(tmp_path, strategy, 0, [1.0], metrics=metrics, gflops=None, parameters=None)
    page = self_contained(write_comparison(tmp_path, OPTIONS).read_text())
    assert "MAE age" in page.words
    assert "8.25" in page.words


def test_damaged_runs_are_listed_and_do_not_cost_the_page(out, self_contained):
    add_run(out, "mtan", 0, [1.0]).joinpath("result.json").write_text("{")
    add_run(out, "mtan", 1, [1.0]).joinpath("result.json").write_text('{"strategy": "sfg", "metrics": {}}')
    add_run(out, "branched", 0, [1.0]).joinpath("cases.csv").write_text("case,mae_hu\na,b\n")
    words = self_contained(write_comparison(out, OPTIONS).read_text()).words
    assert "mtan, seed 0, fold 0: damaged result.json" in words
    assert "mtan, seed 1, fold 0: damaged result.json" in words
    assert "branched, seed 0, fold 0:" in words
    assert list(read_comparison(out).missing) == [Run("branched", 0, 0), Run("mtan", 0, 0), Run("mtan", 1, 0)]


def test_shares_by_depth_are_drawn_where_layers_differ(out, self_contained):
    shared = [[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.4, 0.2, 0.4], [0.4, 0.2, 0.4]]
    groups = {"groups": ["ct", "ct+seg", "seg"], "layers": LAYERS, "kernels": [4] * 4, "steps": [9]}
    for seed in (0, 1):
        path = out / "runs" / "sfg" / f"seed{seed}-fold0" / "groups.json"
        path.write_text(json.dumps({**groups, "shares": [shared]}))
    alike = out / "runs" / "hard-sharing" / "seed0-fold0" / "groups.json"
    alike.write_text(json.dumps({**groups, "shares": [[[0, 1, 0]] * 4]}))
    words = self_contained(write_comparison(out, OPTIONS).read_text()).words
    assert "sfg (mean of 2 runs)" in words
    assert "hard-sharing (mean" not in words


def test_a_strategy_far_off_stands_at_the_edge_with_its_number(out, self_contained):
    assert "\u2192" not in self_contained(write_comparison(out, OPTIONS).read_text()).words
    for name, errors in {"mtan": [41, 42, 43], "constant-p": [640, 641, 642]}.items():
        add_run(out, name, 0, errors)
    words = self_contained(write_comparison(out, OPTIONS).read_text()).words
    assert "641 \u2192" in words  # its MAE among the others'
    assert "599 \u2192" in words  # its difference from hard sharing
    assert "beyond: constant-p at 641, -5.41" in words


def test_conditions_and_own_settings_are_in_words(out, self_contained):
    conditions = {"steps": 9, "patch_size": [64, 64, 48], "network": {"name": "SFGUNet", "channels": [4, 8]}}
    conditions |= {
        "tasks": [{"kind": "image", "name": "ct"}, {"kind": "labels", "name": "seg"}],
        "files": {},
        "folds": 0,
    }
    conditions |= {"warmup": 0.05, "samples": 2}
    (out / "conditions.json").write_text(json.dumps(conditions))
    settings = {"strategy": {"name": "sfg"}, "freeze_groups_at": None}
    add_run(out, "sfg-stochastic", 0, [30, 31, 32], settings=settings)
    words = self_contained(write_comparison(out, OPTIONS).read_text()).words
    for text in (
        "tasks ct, seg steps 9 patch size 64 x 64 x 48 network name SFGUNet, channels 4, 8",
        "passes of stochastic strategies 2",
        "All other settings of the training warmup 0.05",
        "sfg-stochastic freeze groups at none",
    ):
        assert text in words
    assert "folds" not in words


@pytest.mark.parametrize("made", [False, True])
def test_nothing_to_compare(tmp_path, made):
    if made:
        (tmp_path / "runs" / "sfg" / "seed0-fold0").mkdir(parents=True)
    with pytest.raises(SfgMedError, match="runs"):
        write_comparison(tmp_path, OPTIONS)


def test_titles():
    assert metric_title("mae_bone_hu") == "MAE bone (HU)"
    assert metric_title("dice_femoral_head_left") == "Dice femoral head left"
    assert metric_title("ms_ssim") == "MS-SSIM"
    assert metric_title("hd95_mm_rectum") == "HD95 rectum (mm)"
    assert metric_title("accuracy_gender") == "accuracy gender"
    assert metric_title("dice_mean") == "mean Dice"


def test_values_that_are_missing_stay_missing(out):
    comparison = read_comparison(out)
    assert math.isnan(comparison.runs[0].value("hd95_mm_rectum"))
    assert "hd95_mm_rectum" not in comparison.metrics
