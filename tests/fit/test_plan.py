"""mofang plan: on paper, from a snapshot, before a training, and what it learns from what was used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit import families
from mofang.fit.families.encoder import Encoder
from mofang.fit.families.linear import Linear
from mofang.fit.plan import plan, plan_on_paper
from mofang.fit.planning import energy, hardware, money, room, scaling, time
from mofang.fit.planning.ahead import predict, smaller
from mofang.fit.planning.known import MODELS
from mofang.fit.planning.learnt import accuracy, factor, past
from mofang.fit.planning.memory import MB
from mofang.fit.planning.modules import count
from mofang.fit.planning.paper import Wanted
from mofang.fit.planning.parallel import best_layout, layouts
from mofang.fit.planning.sample import Sample, cut, sample_of
from mofang.fit.planning.work import work_of
from mofang.fit.size import Size
from mofang.fit.train import train


def refused(doing: Callable[[], object]) -> MofangError:
    with pytest.raises(MofangError) as found:
        doing()
    assert found.value.what and found.value.fix
    return found.value


# On paper


def test_gpt3_on_1024_a100_takes_34_days() -> None:
    """Narayanan et al. 2021, section 5: 8·T·P / (n·X) with 300e9 tokens, 175e9 weights, 1,024 x 140 Tflop/s."""
    told = time.duration(8 * 300e9 * 175e9, 140e12, 1.0, 1024)
    assert told.compute_s / 86_400 == pytest.approx(33.9, abs=0.1)
    assert time.words(told.compute_s) == "33.9 d" and time.words(5) == "5 s" and time.words(600) == "10 min"


def test_young_and_daly() -> None:
    """100 s to save and a failure each 200,000 s: sqrt(2·100·200,000) = 6,324.6 s between checkpoints."""
    assert time.checkpoint_interval(100, 200_000) == pytest.approx(6324.555)
    calm, frail = (time.duration(1e22, 1e14, 0.4, 64, parameters=7e9, machines=8, mtbf_s=mtbf) for mtbf in (1e12, 1e7))
    assert frail.lost_s > 10 * calm.lost_s and frail.interval_s < calm.interval_s
    assert frail.total_s == pytest.approx(frail.compute_s + frail.evaluation_s + frail.checkpoint_s + frail.lost_s)
    assert calm.evaluation_s == pytest.approx(0.01 * calm.compute_s)


def test_kilowatt_hours_and_carbon() -> None:
    """8 x 700 W x 24 h x 1.2 = 161.28 kWh; x 0.5366 = 86.54 kg."""
    found = energy.energy(8, 700, 24)
    assert found.kwh == pytest.approx(161.28) and found.co2_kg == pytest.approx(86.543, abs=0.001)
    assert "Ministry of Ecology" in found.sources["grid"] and not found.measured
    assert refused(lambda: energy.energy(1, 1, 1, grid="chn")).code == "plan-unknown-grid"
    assert all("20" in source for _, source in energy.GRIDS.values()), "each factor names its year"


def test_the_energy_counters_are_read_where_they_can_be(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("2500000\n")
    (tmp_path / "intel-rapl:1").mkdir()
    assert energy.rapl_joules(energy.rapl_packages(tmp_path)) == 2.5


def test_money_in_its_own_currency() -> None:
    h100 = hardware.device_named("h100")
    assert money.rented(h100, 8, 10, hour=3.0).micros == 240_000_000
    assert money.rented(hardware.device_named("v100"), 1, 1).micros is None
    half = money.owned(h100, 1, 4 * 8760 * 0.6 / 2, 0.0, price=30_000)
    assert half.micros == 15_000_000_000, "half of its life's hours cost half of its price"
    assert money.by_rates({"machine_hour_micros": 3_000_000}, "CNY", 1800, 0).to_dict()["money"] == "¥1.50"
    assert money.by_rates({}, "CNY", 1800, 0).micros is None
    assert refused(lambda: hardware.device_named("h1000")).code == "plan-unknown-device"
    assert all(one.source for one in hardware.DEVICES.values())


@pytest.mark.parametrize(
    ("model", "device", "devices", "parts"),
    [
        ("gpt-2", "h100", 8, 1),
        ("llama-2-7b", "h100", 8, 1),
        ("llama-2-70b", "h100", 1024, 32),
        ("gpt-3", "a100", 1024, 4),
        ("llama-3.1-8b", "a100", 64, 1),
    ],
)
def test_layouts_of_known_models(model: str, device: str, devices: int, parts: int) -> None:
    network, card = count(MODELS[model], head="lm"), hardware.device_named(device)
    found = best_layout(network, card, devices, 2048, devices * 8)
    assert found.tensor * found.pipeline * found.data == devices and found.tensor * found.pipeline <= parts
    assert found.memory.total <= card.memory_bytes and 0.3 < found.mfu < 0.7 and found.tensor <= 8
    assert 0 <= found.bubble < 0.3 and 0 <= found.talk < 0.3


def test_a_pipelines_bubble_is_that_of_the_paper() -> None:
    """Narayanan et al. 2021: (p - 1) / m of the useful time: 7/16 with 8 stages and 16 micro-batches."""
    network = count(MODELS["llama-2-7b"], head="lm")
    found = layouts(network, hardware.device_named("h100"), 8, 2048, 16)
    one = next(layout for layout in found if layout.pipeline == 8 and layout.rows == 1 and layout.micros == 16)
    assert one.bubble / (1 - one.bubble) == pytest.approx(7 / 16, rel=0.02)


def test_what_does_not_fit_says_how_many_would() -> None:
    error = refused(lambda: plan_on_paper("llama-2-70b", "", Wanted(devices=8)))
    assert error.code == "plan-does-not-fit" and "32" in error.fix
    assert plan_on_paper("llama-2-7b", "", Wanted(devices=1, adapt="lora", tokens=1e6))["memory"]["fits"]


def test_a_plan_on_paper_names_its_sources(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    place.write_text(json.dumps(MODELS["gpt-2"]))
    found = plan_on_paper("", str(place), Wanted(tokens=1e10, devices=8))
    same = plan_on_paper("gpt-2", "", Wanted(tokens=1e10, devices=8))
    assert found["flops"] == same["flops"] and found["time"] == same["time"]
    assert found["flops"]["six_n_d"] == 6 * 124_439_808 * 1e10
    assert found["flops"]["attention"] == pytest.approx(12 * 12 * 768 * 1024 * 1e10)
    assert found["mfu"]["source"] and found["device"]["source"] and all(one["source"] for one in found["money"])
    assert found["time"]["quick"]["total_s"] < found["time"]["slow"]["total_s"]
    assert sum(row["parameters"] for row in found["model"]["modules"]) == found["model"]["parameters"]


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"x"', "\x00\x01", "[" * 5000])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    place = tmp_path / "配置.json"
    place.write_text(content, encoding="utf-8")
    assert refused(lambda: plan_on_paper("", str(place), Wanted())).code == "plan-config-unreadable"
    assert refused(lambda: plan_on_paper("", str(tmp_path / "none"), Wanted())).code == "plan-config-unreadable"
    assert refused(lambda: plan_on_paper("", "", Wanted())).code == "plan-nothing-given"


# Scaling laws


def test_published_ratios() -> None:
    """C = 6·N·20·N: 5.76e23 operations (Gopher's) buy 69e9 weights and 1.39e12 tokens, about what Chinchilla was."""
    chinchilla, nanochat = scaling.published(5.76e23)
    assert chinchilla.parameters == pytest.approx(69.3e9, rel=0.001) and chinchilla.tokens == pytest.approx(
        1.386e12, rel=0.001
    )
    assert nanochat.tokens / nanochat.parameters == pytest.approx(10.5)


def test_a_fit_finds_the_law_that_made_the_losses() -> None:
    law = scaling.Law(1.7, 400.0, 410.0, 0.0, 0)
    points = [scaling.Point(n, d, law.loss(n, d)) for n, d in ((1e6, 4e7), (3e6, 3e7), (1e7, 2e8), (3e7, 1e8))]
    found = scaling.fit_law(points)
    assert (found.floor, found.size, found.data) == pytest.approx((1.7, 400.0, 410.0), rel=1e-3) and found.error < 1e-6
    best = found.optimum(1e18)
    around = [found.loss(best.parameters * step, 1e18 / 6 / (best.parameters * step)) for step in (0.8, 1.0, 1.25)]
    assert around[1] == min(around) and best.loss == pytest.approx(around[1])
    assert "4 runs" in best.source


def test_equal_operations_give_a_parabola() -> None:
    points = [scaling.Point(n, 1e15 / 6 / n, 3.0 + 0.05 * (math.log(n) - math.log(2e6)) ** 2) for n in (5e5, 1e6, 4e6, 8e6)]
    assert scaling.parabola(points).parameters == pytest.approx(2e6, rel=1e-3)
    falling = [scaling.Point(n, 1e15 / 6 / n, 5.0 - math.log(n) / 10 + 1e-4 * math.log(n) ** 2) for n in (5e5, 1e6, 4e6)]
    assert refused(lambda: scaling.parabola(falling)).code == "plan-fit-flat"
    assert refused(lambda: scaling.fit_law(points[:2])).code == "plan-fit-few"


# From a snapshot


def test_a_plan_of_a_snapshot(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    made = fit_shop.run(plan, snapshots["text_classification"], families=("linear", "encoder"))
    found = made.read_json("plan.json")
    assert [row["family"] for row in found["families"]] == ["linear", "encoder"], "from cheap to dear"
    dear = found["families"][1]
    assert dear["memory_mb"].keys() >= {"process", "weights", "gradients", "optimiser", "activations"}
    assert sum(row["parameters"] for row in dear["modules"]) == dear["parameters"] and dear["flops"] > 0
    assert found["advice"] and dear["energy"]["sources"]["watts"] and dear["money"]["source"]
    assert fit_shop.run(plan, snapshots["table_classification"]).read_json("plan.json")["families"][0]["wall_s"] > 0


def test_every_family_is_foretold(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    for kind in families.KINDS.values():
        for task in set(kind.tasks) & snapshots.keys():
            found = predict(fit_shop, kind(), sample_of(snapshots[task]))
            assert 0 < found.cpu_s < 36_000 and found.peak_mb >= found.held_mb > 0, kind.tag


def test_more_data_take_longer_and_wider_models_more_room() -> None:
    sample = [Sample(Size(rows, 2, 30.0, "zh", 0.5), 100) for rows in (1000, 4000)]
    few, many = (work_of(Encoder(epochs=2), one) for one in sample)
    assert many.flops == pytest.approx(4 * few.flops, rel=0.05) and many.steps == pytest.approx(4 * few.steps, rel=0.1)
    wide = work_of(Encoder(epochs=2, width=256), sample[0])
    assert wide.memory["weights"] > 2 * few.memory["weights"]
    assert work_of(Encoder(epochs=4), sample[0]).flops == pytest.approx(2 * few.flops, rel=0.1)


def test_batches_are_cut_as_training_cuts_them() -> None:
    import numpy as np

    each = cut(np.full(10, 20), 1000, 64, 640)
    assert each.steps == pytest.approx(math.ceil(1000 / 32)) and each.positions == 20_000
    assert set(each.batches) <= {(32, 20), (8, 20)}


def test_a_training_stands_beside_its_prediction(shop: Shop, snapshots: dict[str, Snapshot], fit_shop: Shop) -> None:
    model = fit_shop.run(train, snapshots["text_classification"], family="linear", seed=41)
    entry = fit_shop.ledger.get(model.entry)
    told = entry.body["measures"]
    assert told["predicted_s"] > 0 and told["predicted_mb"] > 0 and told["planned"]["family"] == "linear"
    assert any(one.entry == entry.id and one.used_s == entry.body["cost"]["own"]["cpu_s"] for one in past(fit_shop))
    assert {row["family"] for row in accuracy(fit_shop)} >= {"", "linear"} and accuracy(shop) == []
    assert factor(fit_shop, "linear").runs >= 1 and factor(fit_shop, "no such").runs == 0


def test_a_factor_is_the_median_of_earlier_runs(
    fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit.planning import learnt

    sample = sample_of(snapshots["table_classification"])
    before = predict(fit_shop, Linear(), sample)
    monkeypatch.setattr(learnt, "factor", lambda shop, family: learnt.Factor(2.0, 3.0, 5))
    after = predict(fit_shop, Linear(), sample)
    assert after.cpu_s - after.load_s == pytest.approx(2 * after.raw_s) and after.factor.runs == 5
    assert after.raw_s == pytest.approx(before.raw_s)
    one = learnt.Past("linear", "train", "m", "e", 1, 10.0, 1, 400, 2.0, 1.0, 20.0, 300.0)
    assert one.ratio_s == pytest.approx((9 + 3) / (2 + 3)) and one.ratio_mb == pytest.approx(180 / 100)


# Memory


def test_what_will_not_fit_is_refused_before_it_begins(
    fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    big = Encoder(layers=24, width=1024, heads=16, epochs=1)
    own = room.peak_mb()
    monkeypatch.setenv("MOFANG_MEMORY", str(round(own + 1500)))
    error = refused(lambda: fit_shop.run(train, snapshots["text_classification"], family=big))
    assert (
        error.code == "memory-too-small" and "--family.width" in error.what + error.fix and "MOFANG_MEMORY=any" in error.fix
    )
    found = fit_shop.run(plan, snapshots["text_classification"], families=(big,)).read_json("plan.json")
    assert not found["families"][0]["fits"] and found["limit_mb"] == round(own + 1500)
    monkeypatch.setenv("MOFANG_MEMORY", "any")
    assert room.usable_mb() is None


def test_smaller_settings_come_from_mild_to_harsh() -> None:
    words = [one for one, _ in smaller(Encoder())]
    assert words[0] == "--family.tokens 1024" and words.index("--family.width 64") > words.index("--family.tokens 256")
    assert [one for one, _ in smaller(Linear())] == [
        f"--family.terms {number}" for number in (100000, 50000, 25000, 12500, 6250)
    ]


@pytest.mark.parametrize(
    ("version", "limit", "left"),
    [(2, "1073741824", 512 + 64), (2, "max", None), (1, "2147483648", 1536 + 64), (1, "9223372036854771712", None)],
)
def test_the_control_groups_limit_counts(tmp_path: Path, version: int, limit: str, left: int | None) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    folder = groups / "app" if version == 2 else groups / "memory" / "app"
    for one in (proc / "self", folder):
        one.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/app\n" if version == 2 else "9:name=systemd:/\n4:memory:/app\n0::/\n")
    (proc / "self" / "statm").write_text(f"9 {100 * 2**20 // room.PAGE} 1")
    (proc / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable:    4194304 kB\n")
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (folder / names[0]).write_text(limit)
    (folder / names[1]).write_text(str(512 * 2**20))
    (folder / "memory.stat").write_text(f"anon 1\n{'' if version == 2 else 'total_'}inactive_file {64 * 2**20}\n")
    assert room.usable_mb(groups, proc) == pytest.approx((4096 if left is None else left) + 100)


def test_a_machine_that_says_nothing_refuses_nothing(tmp_path: Path) -> None:
    assert room.usable_mb(tmp_path, tmp_path) is None and room.resident_mb(tmp_path) == room.peak_mb()
    assert MB == 2**20


def test_the_command(fit_shop: Shop, snapshots: dict[str, Snapshot], capsys: pytest.CaptureFixture[str],
                     monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.cli.group import run

    monkeypatch.setenv("COLUMNS", "200")

    def typed(*words: str) -> str:
        assert run(["--shop", str(fit_shop.path), *words]) == 0
        return capsys.readouterr().out

    entry = snapshots["text_classification"].entry
    told: Any = json.loads(typed("plan", entry, "--family", "linear", "--json"))
    assert told["families"][0]["family"] == "linear"
    assert "no earlier run" in (shown := typed("plan", entry, "--family", "averaged")) or "runs: time" in shown
    assert "23.9 d – 31.5 d" in typed("plan", "--model", "gpt-3", "--gpus", "1024", "--gpu", "a100", "--tokens", "3e11")
    assert isinstance(json.loads(typed("plan", "--accuracy", "--json")), list)
    assert "参数量" in typed("--lang", "zh", "plan", "--model", "gpt-2")
    typed("--lang", "en", "plan", "--accuracy")
    assert run(["--shop", str(fit_shop.path), "plan", "--model", "gpt-2", "--gpu", "abacus"]) == 1
