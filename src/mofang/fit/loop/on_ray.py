"""Ray Train places the workers of a training; what they do there is the same as everywhere."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.fit.loop.spread import RESTARTS


def train_on_ray(call: Path, devices: int, address: str) -> str:
    """Run the workers of a call on a Ray cluster that shares the shop's folder; what Ray says where it fails.

    The address is always named (``local`` starts a cluster here): Ray's own search finds dead ones and hangs.
    """
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ModuleNotFoundError:
        raise MofangError("ray-missing") from None
    import torch

    cuda = torch.cuda.is_available()
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]))}
    given: dict[str, Any] = {"num_cpus": max(devices, os.cpu_count() or 1)} if address == "local" else {}
    ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
             runtime_env={"env_vars": paths}, **given)
    try:
        trainer = TorchTrainer(
            _take_part, train_loop_config={"call": str(call)},
            torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
            scaling_config=ScalingConfig(num_workers=devices, use_gpu=cuda),
            run_config=RunConfig(storage_path=str(call.parent / "ray"), failure_config=FailureConfig(max_failures=RESTARTS)),
        )
        try:
            trainer.fit()
        except RuntimeError as error:  # of Ray: a worker failed too often
            return str(error)
    finally:
        ray.shutdown()
    return ""


def _take_part(given: dict[str, Any]) -> None:
    from mofang.fit.loop.worker import follow

    follow(Path(given["call"]))
