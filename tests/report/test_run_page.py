# SPDX-License-Identifier: Apache-2.0
"""``report.html`` of a run: curves and shares, read from what the trainer writes."""

import csv
import json

import numpy as np
import pytest

from sfg_med.errors import SfgMedError
from sfg_med.report import charts
from sfg_med.report.run_files import Curve, forward_order, layer_name, read_history, read_shares
from sfg_med.report.run_page import write_run_page
from sfg_med.spec import ModelSpec

LAYERS = ["encoder.0.0.conv", "encoder.0.1.conv", "encoder.1.0.conv", "reduce.0.conv", "reduce.1.conv"]
LAYERS += ["decoder.0.0.conv", "decoder.0.1.conv", "decoder.1.0.conv"]


def write_run(folder, groups=("ct", "ct+seg", "seg"), steps=(0, 20, 40)):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "split", "name", "value"])
        for step in (20, 40, 60):
            for name, value in (
                ("loss", 3 - step / 40),
                ("loss_ct", 0.2),
                ("learning_rate", 1e-3),
                ("entropy", 0.9),
            ):
                table.writerow([step, "train", name, value])
            for name, value in (
                ("mae_hu", 100 - step),
                ("dice_mean", 0.5),
                ("dice_rectum", 0.4),
                ("score", -abs(step - 40)),
            ):
                table.writerow([step, "validation", name, value])
        table.writerow([60, "train", "loss", "nan"])
    shares = np.random.default_rng(0).dirichlet(np.ones(len(groups)), (len(steps), len(LAYERS)))
    kernels = [8, 8, 16, 8, 8, 16, 16, 8]
    content = {
        "groups": groups,
        "layers": LAYERS,
        "kernels": kernels,
        "steps": steps,
        "shares": shares.tolist(),
    }
    (folder / "groups.json").write_text(json.dumps(content))
    (folder / "spec.json").write_text(json.dumps(ModelSpec().to_dict()))
    (folder / "splits.json").write_text(json.dumps({"train": ["a", "b"], "validation": ["c"]}))
    return shares, np.array(kernels)


def test_page_holds_curves_shares_and_numbers(tmp_path, self_contained):
    shares, kernels = write_run(tmp_path / "my <run>")
    path = write_run_page(tmp_path / "my <run>")
    page = self_contained(path.read_text())
    overall = (shares[-1] * kernels[:, None]).sum(0) / kernels.sum()
    expected = ", ".join(f"{name} {share:.0%}" for name, share in zip(("ct", "ct+seg", "seg"), overall, strict=True))
    for text in (
        "my <run>",
        expected,
        "train 2, validation 1",
        "Validation MAE",
        "MAE (HU)",
        "nats",
        "best selection score at step 40",
    ):
        assert text in page.words
    for text in ("down 1", "up 2", "down 1, conv 1", "up 2, reduce", "Dice rectum", "not for clinical use"):
        assert text in page.words
    assert "40.0" in page.words  # the last validation MAE
    labels = page.values("aria-label")
    assert "final group shares" in labels
    assert "group shares over time" in labels
    assert "Evaluation" not in page.words


def test_learned_variances_have_a_chart_of_their_own(tmp_path):
    write_run(tmp_path)
    title = "Learned log variance"
    assert title not in write_run_page(tmp_path).read_text()
    with (tmp_path / "history.csv").open("a") as file:
        file.writelines(f"{step},train,log_variance_ct,{-step / 20}\n" for step in (20, 40, 60))
    assert title in write_run_page(tmp_path).read_text()


def test_forward_order_of_a_u_net():
    names = [layer_name(LAYERS[i]) for i in forward_order(LAYERS)]
    assert names == [
        *("down 1, conv 1", "down 1, conv 2", "down 2, conv 1"),
        *("up 1, reduce", "up 1, conv 1", "up 1, conv 2", "up 2, reduce", "up 2, conv 1"),
    ]
    other = ["features.3.conv", "features.0.conv"]
    assert forward_order(other) == [0, 1]
    assert layer_name("features.3.conv") == "features.3"


def test_seven_groups_keep_their_colours_apart(tmp_path, self_contained):
    groups = ("a", "b", "c", "a+b", "a+c", "b+c", "a+b+c")
    write_run(tmp_path, groups)
    colours = charts.group_colours(groups)
    assert len(set(colours)) == 7
    assert colours[6] == charts.group_colours(("ct", "ct+seg", "seg"))[1]
    assert "a+b+c" in self_contained(write_run_page(tmp_path).read_text()).words


def test_one_record_of_shares_and_no_groups_at_all(tmp_path, self_contained):
    write_run(tmp_path, steps=(0,))
    assert "over training" not in self_contained(write_run_page(tmp_path).read_text()).words
    path = tmp_path / "groups.json"
    empty = {"layers": [], "kernels": [], "shares": [[]]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **empty}))
    assert "What the tasks share" not in self_contained(write_run_page(tmp_path).read_text()).words
    path.unlink()
    assert "What the tasks share" not in self_contained(write_run_page(tmp_path).read_text()).words


def test_evaluation_is_embedded(tmp_path, self_contained):
    write_run(tmp_path)
    column = {
        "title": "MAE",
        "unit": "HU",
        "mean": 36.64,
        "std": 4.04,
        "ci95": [33.03, 40.04],
        "median": 35.5,
        "n": 5,
    }
    column["worst"] = [{"case": "case018", "value": 42.42}]
    summary = {"cases": 6, "failed": 1, "reference": "/data", "created": "today", "simulated": True}
    summary |= {"columns": {"mae_hu": column}, "trivial_model": {"mae_hu": {"predicts": 31.2, "mean": 87.44}}}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    words = self_contained(write_run_page(tmp_path).read_text()).words
    for text in (
        "5 of 6 cases",
        "36.6 4.0 33.0 to 40.0 35.5 42.4 (case018) 5",
        "MAE 87.4 HU",
        "simulated data",
    ):
        assert text in words


def test_charts_take_their_ink_from_the_page():
    curve = Curve(np.arange(5.0), np.arange(5.0))
    svg = charts.line_chart({"<b> & c": curve, "d": curve}, "value ($)", name='a "name"')
    assert "currentColor" in svg
    assert "var(--line)" in svg
    assert "#000000" not in svg
    assert "<b>" not in svg
    assert "width=" not in svg.split(">", 1)[0]


def test_history_reads_both_names_of_the_split_and_sorts(tmp_path):
    (tmp_path / "h.csv").write_text("step,split,name,value\n4,training,loss,2\n2,train,loss,3\n6,train,loss,inf\n")
    curve = read_history(tmp_path / "h.csv")["train", "loss"]
    assert curve.steps.tolist() == [2, 4]
    assert curve.values.tolist() == [3, 2]


@pytest.mark.parametrize(
    "content", ["", "step,split,name,value\n", "a,b\n1,2\n", "step,split,name,value\n1,train,loss,x\n"]
)
def test_a_history_without_curves_is_refused(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(SfgMedError, match=r"history\.csv"):
        write_run_page(tmp_path)


@pytest.mark.parametrize("damage", [{"layers": ["a"]}, {"shares": [[1]]}, {"kernels": [1]}, {"steps": None}])
def test_shares_that_do_not_fit_are_refused(tmp_path, damage):
    write_run(tmp_path)
    path = tmp_path / "groups.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(SfgMedError, match=r"groups\.json"):
        read_shares(path)
