# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from scipy.special import log_softmax

from sfg_med.losses import ClassLoss, ImageLoss, JointLoss, LabelLoss, ValueLoss, task_loss
from sfg_med.networks import SFGUNet
from sfg_med.sharing import VariationalObjective
from sfg_med.spec import ClassTask, ImageTask, LabelTask, ModelSpec, ValueTask, make_spec


def test_with_every_label_drawn_it_is_monais_dice_plus_cross_entropy() -> None:
    logits, target = torch.randn(2, 4, 6, 6, 6), torch.randint(0, 4, (2, 1, 6, 6, 6))
    reference = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    found = LabelLoss()(logits, target, torch.ones(2, 4), torch.ones_like(target))
    torch.testing.assert_close(found, reference(logits, target), rtol=1e-4, atol=1e-5)


def test_labels_that_were_not_drawn_count_as_background() -> None:
    """A voxel-by-voxel NumPy oracle of the marginal cross-entropy and Dice."""
    logits, target = torch.randn(1, 4, 5, 5), torch.randint(0, 2, (1, 1, 5, 5))
    annotated = torch.tensor([[1.0, 1, 0, 0]])
    p = np.exp(logits[0].double().numpy())
    p /= p.sum(0)
    merged = np.stack((p[0] + p[2] + p[3], p[1]))
    truth = target[0, 0].numpy()
    ce = np.mean([-np.log(merged[truth[i, j], i, j]) for i in range(5) for j in range(5)])
    dice = 1 - (2 * (merged[1] * truth).sum() + 1e-5) / (merged[1].sum() + truth.sum() + 1e-5)
    found = LabelLoss()(logits, target, annotated, torch.ones_like(target))
    assert found.item() == pytest.approx(ce + dice, rel=1e-4)


def test_certainty_about_organs_that_were_not_drawn_is_not_punished() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 2] = 50.0  # sure of an organ that this case's reference does not show
    target = torch.zeros(1, 1, 4, 4)
    drawn = LabelLoss()(logits, target, torch.tensor([[1.0, 1, 1]]), target)
    not_drawn = LabelLoss()(logits, target, torch.tensor([[1.0, 1, 0]]), target)
    assert drawn > 5
    assert not_drawn < 0.01


@pytest.mark.parametrize("kind", ["l1", "mse", "rmse"])
def test_image_loss_against_numpy(kind: str) -> None:
    predicted, target = torch.randn(2, 1, 4, 5, 6), torch.randn(2, 1, 4, 5, 6)
    mask = (torch.rand(2, 1, 4, 5, 6) > 0.4).to(torch.uint8)
    weight = np.where(mask.numpy() > 0, 1, 0.1)
    difference = (predicted - target).numpy()
    error = np.abs(difference) if kind == "l1" else difference**2
    cases = [(w * e).sum() / w.sum() for w, e in zip(weight, error, strict=True)]
    cases = np.sqrt(cases) if kind == "rmse" else cases
    found = ImageLoss(kind)(predicted, target, torch.ones(2, 1), mask)
    assert found.item() == pytest.approx(np.mean(cases), rel=1e-5)
    only_first = ImageLoss(kind)(predicted, target, torch.tensor([[1.0], [0.0]]), mask)
    assert only_first.item() == pytest.approx(cases[0], rel=1e-5)


def test_incomplete_cases_train_beside_complete_ones() -> None:
    """The gradient of a batch of a complete case and one without CT: the CT loss sees the first case only."""
    spec = ModelSpec()
    net = SFGUNet(2, 1, spec.channels, channels=(4, 8))
    loss = JointLoss(spec, net, weights={"ct": 2.0}, objective=VariationalObjective())
    predicted = torch.randn(2, 7, 8, 8, requires_grad=True)
    targets = {
        "ct": torch.randn(2, 1, 8, 8),
        "seg": torch.randint(0, 6, (2, 1, 8, 8)),
        "mask": torch.ones(2, 1, 8, 8),
        "ct_annotated": torch.tensor([[1.0], [0.0]]),
        "seg_annotated": torch.ones(2, 6),
    }
    total = loss(predicted, targets)
    total.backward()
    assert predicted.grad is not None
    assert predicted.grad[0, 0].abs().sum() > 0
    assert predicted.grad[1, 0].abs().sum() == 0
    assert predicted.grad[1, 1:].abs().sum() > 0
    parts = loss.last
    assert total.item() == pytest.approx(2 * parts["loss_ct"] + parts["loss_seg"] + parts["loss_penalty"], rel=1e-5)


def test_a_batch_without_any_target_has_no_gradient() -> None:
    logits = torch.randn(1, 4, 4, 4, requires_grad=True)
    LabelLoss()(logits, torch.zeros(1, 1, 4, 4), torch.zeros(1, 4), torch.ones(1, 1, 4, 4)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("kind", ["rmse", "mse", "l1"])
def test_value_loss_leaves_out_cases_without_a_number(kind: str) -> None:
    """The root is taken of the mean over the batch (the paper), not case by case."""
    predicted, target = torch.randn(4, 1), torch.randn(4, 1)
    target[2] = torch.nan
    error = (predicted - target).numpy()[[0, 1, 3]]
    expected = {"rmse": np.sqrt(np.mean(error**2)), "mse": np.mean(error**2), "l1": np.mean(np.abs(error))}[kind]
    found = ValueLoss(kind)(predicted, target, torch.tensor([[1.0], [1], [0], [1]]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_class_loss_leaves_out_cases_without_a_class() -> None:
    logits, target = torch.randn(3, 2), torch.tensor([[1], [0], [1]])
    rows = -log_softmax(logits.numpy(), axis=1)
    found = ClassLoss()(logits, target, torch.tensor([[1.0, 1], [1, 1], [0, 0]]))
    assert found.item() == pytest.approx((rows[0, 1] + rows[1, 0]) / 2, rel=1e-5)


def test_numbers_and_classes_that_no_case_has_teach_nothing() -> None:
    predicted = torch.randn(2, 2, requires_grad=True)
    none = torch.zeros(2, 2)
    (ValueLoss()(predicted[:, :1], torch.full((2, 1), torch.nan), none) + ClassLoss()(predicted, none, none)).backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().sum() == 0


def test_every_kind_of_task_has_its_loss() -> None:
    found = [type(task_loss(task)) for task in (ImageTask(), LabelTask(), ValueTask(), ClassTask())]
    assert found == [ImageLoss, LabelLoss, ValueLoss, ClassLoss]
    chosen = ValueLoss("l1")
    assert task_loss(ValueTask(), {"value": chosen, "image": None}) is chosen
    with pytest.raises(ValueError, match="l2"):
        ValueLoss("l2")


def test_age_and_gender_need_no_mask() -> None:
    tasks = [{"kind": "value", "name": "age"}, {"kind": "class", "name": "gender", "classes": ["male", "female"]}]
    spec = make_spec(tasks, spacing_mm=[1.0, 1.0], patch_size=[8, 8])
    net = SFGUNet(2, 3, spec.channels, channels=(4, 8))
    targets = {"age": torch.rand(2, 1), "gender": torch.tensor([[0], [1]])}
    known = {"age_annotated": torch.ones(2, 1), "gender_annotated": torch.ones(2, 2)}
    loss = JointLoss(spec, net)
    total = loss(torch.randn(2, 3), {**targets, **known})
    assert total.item() == pytest.approx(loss.last["loss_age"] + loss.last["loss_gender"], rel=1e-5)
