# SPDX-License-Identifier: Apache-2.0
"""What several processes or accumulated batches train is what one process with the whole batch trains."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from sfg_med.errors import SfgMedError
from sfg_med.losses.tasks import ValueLoss
from sfg_med.networks import norms_over_processes
from sfg_med.training.runner import config_dir, train, training_workflow
from tests.training.double import IN_DOUBLE, double_precision
from tests.training.forks import together

MULTI = config_dir() / "multi_gpu_train.yaml"
# Draws of whole groups (one-hot), validation of a single case by both processes, a resumption inside an epoch.
COMMON = {"steps": 6, "steps_per_epoch": 3, "log_interval": 1, "network::policy::mode": "gumbel", "draws": "common"}
# Adam makes steps of one size from gradients of any size, so that with a high rate rounding errors would show.
COMMON |= {"freeze_groups_at": 0.7, "group_learning_rate": 0.002}
COMMON |= IN_DOUBLE


@pytest.fixture(scope="module", autouse=True)
def _double(tiny_dataset: Path) -> Iterator[None]:
    """Each weight is compared."""
    with double_precision():
        yield


@pytest.fixture(scope="module")
def uneven_dataset(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases without CT or organs: two processes have different numbers of annotated cases in a step."""
    folder = tmp_path_factory.mktemp("uneven") / "dataset"
    shutil.copytree(tiny_dataset, folder)
    for name in ("case002/ct", "case003/seg"):
        (folder / f"{name}.nii.gz").unlink()
    return folder


@pytest.fixture(scope="module")
def whole(train_tiny: Callable[..., Path], uneven_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, batches of two."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return train_tiny(run, dataset_dir=str(uneven_dataset), batch_size=2, **COMMON)


def multi(train_tiny: Callable[..., Path], run: Path, dataset: Path, **options: Any) -> None:
    """Two processes, each with half of the batch."""
    values = {"dataset_dir": str(dataset), "device": "$torch.device('cpu')", "gpu": False, **COMMON, **options}
    codes = together(2, lambda: train_tiny(run, configs=(MULTI,), **values))
    assert codes == [0, 0]


def curve(run: Path) -> dict[tuple[str, str, str], float]:
    with (run / "history.csv").open(newline="") as file:
        return {(r["step"], r["split"], r["name"]): float(r["value"]) for r in csv.DictReader(file)}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["network"]


def assert_same_training(run: Path, expected: Path) -> None:
    found, wanted = curve(run), curve(expected)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-8)
    for name, value in weights(expected).items():
        assert value.dtype in (torch.float64, torch.int64, torch.bool), name
        torch.testing.assert_close(weights(run)[name], value, rtol=1e-6, atol=1e-8, msg=lambda t, n=name: f"{n}: {t}")


def test_two_processes_have_the_curve_of_one_with_twice_the_batch(
    train_tiny: Callable[..., Path], whole: Path, uneven_dataset: Path, tmp_path: Path
) -> None:
    multi(train_tiny, tmp_path / "two", uneven_dataset, batch_size=1)
    assert_same_training(tmp_path / "two", whole)


@pytest.mark.filterwarnings("ignore:.*is resolved to an importable callable.*")
def test_two_processes_train_on_faces_what_one_does(noise_faces: Path, tmp_path: Path) -> None:
    """Batch statistics over both processes while training; each validation batch as in one process, in one of them."""
    values = {
        **COMMON,
        "dataset_dir": str(noise_faces),
        "image_size": 32,
        "network::channels": [4, 4, 4, 4, 8, 8, 8, 8],
        "validate::batches::batch_size": 5,
        "device": "$torch.device('cpu')",
    }
    files = [config_dir() / "train.yaml", config_dir() / "utkface.yaml"]

    def run(name: str, batch_size: int, *more: Path, **options: Any) -> Path:
        options |= {"run_dir": str(tmp_path / name), "batch_size": batch_size}
        return train(training_workflow([*files, *more], {**values, **options}))

    one = run("one", 8)
    assert together(2, lambda: run("two", 4, MULTI, gpu=False)) == [0, 0]
    assert_same_training(tmp_path / "two", one)


@pytest.mark.slow
def test_own_draws_differ_between_processes_and_are_the_same_again(
    train_tiny: Callable[..., Path], whole: Path, uneven_dataset: Path, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        multi(train_tiny, tmp_path / name, uneven_dataset, draws="own", steps=3)
    assert curve(tmp_path / "first") == curve(tmp_path / "second")
    assert curve(tmp_path / "first")["1", "train", "loss"] != pytest.approx(curve(whole)["1", "train", "loss"])


def test_accumulated_batches_are_one_big_batch(
    train_tiny: Callable[..., Path], whole: Path, uneven_dataset: Path, tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", dataset_dir=str(uneven_dataset), accumulation=2, **COMMON)
    assert_same_training(run, whole)


@pytest.mark.slow
def test_accumulation_in_two_processes(train_tiny: Callable[..., Path], uneven_dataset: Path, tmp_path: Path) -> None:
    one = train_tiny(tmp_path / "one", dataset_dir=str(uneven_dataset), batch_size=4, **COMMON)
    multi(train_tiny, tmp_path / "two", uneven_dataset, accumulation=2)
    assert_same_training(tmp_path / "two", one)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_with_two_and_back(
    train_tiny: Callable[..., Path], whole: Path, uneven_dataset: Path, tmp_path: Path
) -> None:
    run, values = tmp_path / "run", {"dataset_dir": str(uneven_dataset), **COMMON}
    train_cut(train_tiny, run, 2, batch_size=2, checkpoint_interval=2, **values)
    multi(train_tiny, run, uneven_dataset, steps=6)
    assert_same_training(run, whole)


def test_with_more_samples_in_a_step_no_sample_is_left_out(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    """Three steps of one sample, then three of two: samples 0, 1, 2 and then 3 to 8."""
    seen: list[int] = []

    class Numbers:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.STARTED, self)

        def __call__(self, engine: Engine) -> None:
            seen[:] = list(engine.data_loader.sampler)  # type: ignore[attr-defined]

    train_cut(train_tiny, tmp_path / "run", 3, **COMMON)
    train_tiny(tmp_path / "run", observers=(Numbers(),), batch_size=2, **COMMON)
    assert seen == [3, 4, 5, 6, 7, 8]


def train_cut(train_tiny: Callable[..., Path], run: Path, after: int, **values: Any) -> None:
    """Train and stop without a warning after some iterations."""

    class Cut:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.ITERATION_STARTED(once=after + 1), self)

        def __call__(self, engine: Engine) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, observers=(Cut(),), **values)


@pytest.mark.parametrize("dims", [2, 3])
def test_batch_norms_of_two_processes_see_one_batch(dims: int, tmp_path: Path) -> None:
    """Against torch's batch norm of the whole batch: output, gradients and running statistics."""
    make = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    x = torch.randn(4, 3, *[5] * dims) * 3 + 100
    upstream = torch.randn_like(x)
    plain = make(3)
    nn.init.normal_(plain.weight)
    expected_x = x.clone().requires_grad_()
    expected = plain.train()(expected_x)
    expected.backward(upstream)

    def run() -> None:
        torch.distributed.init_process_group("gloo")
        twin = make(3)
        twin.weight.data = plain.weight.data.clone()
        network = norms_over_processes(nn.Sequential(twin)).train()
        rows = slice(2 * idist.get_rank(), 2 * idist.get_rank() + 2)
        own = x[rows].clone().requires_grad_()
        found = network(own)
        found.backward(upstream[rows])
        result = {"y": found.detach(), "x": own.grad, "weight": network[0].weight.grad, **network.state_dict()}
        torch.save(result, tmp_path / f"{idist.get_rank()}.pt")

    assert together(2, run) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(torch.cat((first["y"], second["y"])), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat((first["x"], second["x"])), expected_x.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(first["weight"] + second["weight"], plain.weight.grad, rtol=1e-4, atol=1e-3)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(first[f"0.{name}"], getattr(plain, name), rtol=1e-4, atol=1e-4)


def test_the_root_of_a_mean_is_that_of_all_processes(tmp_path: Path) -> None:
    """RMSE of numbers: 3 known in one process, 1 in the other."""
    predicted, target = torch.randn(6, 1), torch.randn(6, 1)
    known = torch.tensor([1, 1, 1, 1, 0, 0])[:, None]
    leaf = predicted.clone().requires_grad_()
    expected = (leaf[:4] - target[:4]).square().mean().sqrt()
    expected.backward()

    def run() -> None:
        torch.distributed.init_process_group("gloo")
        rows = slice(3 * idist.get_rank(), 3 * idist.get_rank() + 3)
        own = predicted[rows].clone().requires_grad_()
        loss = ValueLoss("rmse")(own, target[rows], known[rows])
        share = known[rows].sum() * 2 / 4
        (loss * share / 2).backward()
        torch.save({"loss": loss.detach(), "grad": own.grad}, tmp_path / f"{idist.get_rank()}.pt")

    assert together(2, run) == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in parts:
        torch.testing.assert_close(part["loss"], expected.detach())
    torch.testing.assert_close(torch.cat([part["grad"] for part in parts]), leaf.grad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accumulation": 2, "gradient_aggregation": "upgrad"}, "gradient_aggregation=sum"),
        ({"draws": "mine"}, "own or common"),
    ],
)
def test_what_cannot_be_is_one_line(
    train_tiny: Callable[..., Path], tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SfgMedError, match=message):
        train_tiny(tmp_path / "run", **values)
