"""The probe measures, is kept for the machine, and decides; without it everything safe stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from mofang.core.shop import Shop
from mofang.fit.loop.probe import Choices, choices, choose, choosing, known_choices, noise_of, probe
from mofang.fit.loop.timing import measure_machine
from tests.new.test_pages import steps
from tests.stories.terminal import Inside


def case(best: float, spread: float = 0.1, rate: float = 0.0) -> dict[str, float]:
    return {"best_s": best, "spread": spread, "rounds": 3.0} | ({"rate": rate} if rate else {})


def found(short_s: float = 1.0, sdpa_s: float = 1.0, tanh_s: float = 9.0) -> dict[str, dict[str, dict[str, float]]]:
    return {
        "product": {"float32/square": case(2.0, rate=1e9), "bfloat16/square": case(short_s, rate=4e9)},
        "attention": {"bfloat16/causal/256/plain": case(1.0), "bfloat16/causal/256/sdpa": case(sdpa_s),
                      "bfloat16/causal/32/plain": case(1.0), "bfloat16/causal/32/sdpa": case(5.0)},
        "gelu": {"bfloat16/tanh/native": case(tanh_s), "bfloat16/tanh/float": case(2.0, 0.3)},
        "dropout": {"bfloat16/bytes": case(1.0), "bfloat16/native": case(4.0)},
        "bias": {"bfloat16/native": case(1.04), "bfloat16/fused": case(1.0)},
    }


def test_the_faster_way_is_chosen_and_a_hair_does_not_count() -> None:
    chosen = choose(found(sdpa_s=0.5))
    assert chosen.precision == "bf16" and chosen.peak_flops == 4e9 and chosen.dropout == "bytes" and chosen.bias == "fused"
    assert choose({name: cases for name, cases in found().items() if name != "bias"}).bias == "native"
    assert chosen.attention("causal", 256, True, torch.bfloat16) == "sdpa"
    assert chosen.attention("causal", 300, True, "bfloat16") == "sdpa" and chosen.attention("causal", 40, True, "bfloat16") == "plain"
    assert chosen.gelu_of("tanh", torch.bfloat16) == "float" and chosen.gelu_of("exact", torch.bfloat16) == "native"
    assert choose(found(sdpa_s=0.97)).attention("causal", 256, True, torch.bfloat16) == "plain"
    assert choose(found(short_s=1.99)).precision == "fp32" and choose(found(short_s=1.99)).peak_flops == 1e9
    assert noise_of(found()) == 0.1 and Choices.from_dict(chosen.to_dict()) == chosen


def test_unmeasured_machines_get_what_is_safe() -> None:
    safe = choices()
    assert safe.precision == "fp32" and safe.peak_flops == 0
    assert [safe.attention("full", length, False, torch.float32) for length in (32, 128, 512)] == ["plain", "plain", "sdpa"]
    with choosing(choose(found(sdpa_s=0.5))) as inner:
        assert choices() is inner
    assert choices() == safe


def test_a_sketch_measures_every_group_quickly_and_leaves_torch_alone() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    began = time.process_time()
    measured = measure_machine(0.01)
    assert time.process_time() - began < 20
    assert set(measured) == {"product", "attention", "gelu", "dropout", "bias", "norm", "table"}
    assert all(one["best_s"] > 0 and one["rounds"] >= 1 for cases in measured.values() for one in cases.values())
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    assert choose(measured).precision in ("fp32", "bf16")


def test_the_ledger_keeps_one_probe_for_a_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.open(tmp_path_factory.mktemp("probe") / "shop")
    assert known_choices(shop) is None
    calls = []
    monkeypatch.setattr("mofang.fit.loop.timing.measure_machine", lambda seconds, bar: calls.append(seconds) or found(sdpa_s=0.5))
    first, second = shop.run(probe), shop.run(probe)
    assert first.digest == second.digest and calls == [15.0]
    about = first.read_json("probe.json")
    assert about["machine"]["threads"] and about["measured"]["attention"]["bfloat16/causal/256/sdpa"]["spread"] == 0.1
    assert known_choices(shop) == choose(found(sdpa_s=0.5))
    monkeypatch.setenv("MOFANG_THREADS", "7")
    assert known_choices(shop) is None


def test_the_page_is_true(tmp_path: Path) -> None:
    commands = [command for command, _ in steps("probe.md")]
    assert ["mofang", "probe"] in [list(command) for command in commands]
    for command in commands:
        done = Inside(tmp_path).type(*command[1:], "--seconds", "0.1")
        assert "probe" in done.out
