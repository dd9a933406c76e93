# SPDX-License-Identifier: Apache-2.0
"""Run the bundle's training config with overrides that are checked before anything starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ignite.engine import Engine
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import set_determinism

from sfg_med.config_dir import config_dir
from sfg_med.errors import SfgMedError

SEPARATOR = "::"
_RAISED = re.compile(rf"^{SfgMedError.__module__}\.SfgMedError: (.*?): expected (.*?), found (.*); (.*)$", re.MULTILINE)


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words to a mapping; values are YAML.

    Raises:
        SfgMedError: for a word without ``=`` or a value that is no YAML.
    """
    overrides = {}
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise SfgMedError(word, "KEY=VALUE", "no '='", "write it as in steps=3000")
        try:
            overrides[key.replace("#", SEPARATOR)] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SfgMedError(key, "a YAML value", value, "quote it, as in channels='[16, 32]'") from error
    return overrides


def check_keys(overrides: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse keys that the config does not have.

    MONAI adds an unknown top-level key silently, so that a typo trains with the default.

    Raises:
        SfgMedError: naming the nearest known key.
    """
    known = list(_keys(config))
    for key in overrides:
        if key in known:
            continue
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise SfgMedError(key, "a key of the config", "no such key", f"did you mean {nearest}?")


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(config, Mapping):
        return
    for key, value in config.items():
        yield f"{prefix}{key}"
        yield from _keys(value, f"{prefix}{key}{SEPARATOR}")


def training_workflow(config_files: Sequence[Path], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """The MONAI workflow of a training run.

    Args:
        config_files: configs, later ones laid over earlier ones; what is not there may be the name of a shipped one.
        overrides: config key (``a::b`` for nested ones) to value.

    Raises:
        SfgMedError: for a missing config file or an unknown key.
    """
    config_files = [path if path.is_file() else config_dir() / path for path in config_files]
    for path in config_files:
        if not path.is_file():
            raise SfgMedError(path, "a config file", "nothing there", f"the shipped ones are in {config_dir()}")
    names = [str(p) for p in config_files]
    try:
        config = ConfigParser.load_config_files(names)
    except (ValueError, yaml.YAMLError) as error:
        raise SfgMedError(", ".join(names), "YAML or JSON configs", str(error), "correct the file") from error
    check_keys(overrides, config)
    return ConfigWorkflow(
        config_file=names,
        meta_file=str(config_dir() / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **overrides,
    )


def train(workflow: ConfigWorkflow, observers: Sequence[Any] = ()) -> Path:
    """Train and return the run's folder.

    Args:
        workflow: from :func:`training_workflow`.
        observers: handlers to attach to the trainer, such as a progress bar.
    """
    try:
        trainer = _build_trainer(workflow)
        for observer in observers:
            observer.attach(trainer)
        workflow.run()
        workflow.finalize()
    except Exception as error:
        mistake = user_mistake(error)
        if mistake is None:
            raise
        raise mistake from error
    finally:
        set_determinism(None)
    return Path(workflow.parser.get_parsed_content("run_dir"))


def _build_trainer(workflow: ConfigWorkflow) -> Engine:
    """Build what the config describes; a value that its object refuses is the user's mistake."""
    try:
        workflow.initialize()
        trainer: Engine = workflow.parser.get_parsed_content("train#trainer")
        return trainer
    except RuntimeError as error:  # MONAI's config parser wraps everything in these
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if user_mistake(error) is None and isinstance(root, ValueError | TypeError):
            raise SfgMedError("config", "values that fit", str(root)[:300], "correct the override or config") from error
        raise


def user_mistake(error: BaseException) -> SfgMedError | None:
    """The user's mistake behind an error of MONAI's config parser, transforms or loaders, if there is one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, SfgMedError):
            return cause
        # torch hands over what a loader's process raised as the text of its traceback only
        found = _RAISED.findall(str(cause))
        if found:
            return SfgMedError(*found[-1])
        cause = cause.__cause__ or cause.__context__
    return None
