# SPDX-License-Identifier: Apache-2.0
"""The test of one run on faces: age and gender of the test images, by one pass or by the mean and mode of several."""

from __future__ import annotations

from pathlib import Path

from monai.bundle import ConfigWorkflow

from pipelines.compare_run import Trial
from sfg_med.inference.pictures import score_pictures
from sfg_med.model_file import LoadedModel
from sfg_med.training import EvenBatches

METRICS = ("mae_age", "accuracy_gender")


class FaceTrial(Trial):
    """As a run of ``pipelines.compare``, on faces."""

    def score(
        self, workflow: ConfigWorkflow, model: LoadedModel, folder: Path, *, samples: int, seed: int
    ) -> dict[str, dict[str, float]]:
        """Columns of every test image; all strategies see the same batches.

        What averaging brings and what learning brings are kept apart: with several passes, ``mae_age_1pass`` and
        ``accuracy_gender_1pass`` are means over single passes, and where groups are learned ``mae_age_argmax`` and
        ``accuracy_gender_argmax`` come from the likeliest groups.
        """
        items = workflow.parser.get_parsed_content("parts")["test"]
        sampler = EvenBatches(len(items), workflow.parser.get_parsed_content("batch_size"))
        batches = [[items[i] for i in batch] for batch in sampler]
        network = model.network.to(workflow.parser.get_parsed_content("device"))
        rows = score_pictures(network, model.spec, batches, samples=samples, seed=seed)
        if samples > 1 and any(layer.kernel_groups.learns for layer in network.sharing_layers().values()):
            network.policy.eval_mode = "argmax"
            for case, row in score_pictures(network, model.spec, batches).items():
                rows[case] |= {f"{name}_argmax": row[name] for name in METRICS}
        return rows

    def is_metric(self, column: str) -> bool:
        """Errors and hits, also those of a single pass."""
        return column.startswith(METRICS)
