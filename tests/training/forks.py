# SPDX-License-Identifier: Apache-2.0
"""Processes that start with everything imported, so that a test may have many of them."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch

FORK = multiprocessing.get_context("fork")


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A running process; torch has one thread there, since threads do not outlive a fork."""

    def run() -> None:
        torch.set_num_threads(1)
        function(*arguments)

    process = FORK.Process(target=run)
    process.start()
    return process


def together(count: int, function: Callable[[], Any]) -> list[int | None]:
    """Exit codes of processes that call a function in the environment that torchrun makes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        function()

    processes = [start(run, rank) for rank in range(count)]
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]
