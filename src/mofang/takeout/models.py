"""Models and records of an export: every named model as a folder with an example that runs it, every set of records as
Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mofang.core.artifact import Part, manifest_digest
from mofang.core.database import Database
from mofang.data import operators
from mofang.takeout.folder import Folder, moment_of
from mofang.takeout.parts import WITH, encoder_parts, filled_with, parts_of

if TYPE_CHECKING:
    from mofang.core.shop import Shop

EXAMPLES = Path(__file__).with_name("examples")
SPELLING = "text-normalise"
# operators of tables that an export can take with it, by the file of data/operators/ that they stand in
STEPS = {name: module.rpartition(".")[2] for name, (_, module, _) in operators.OPERATORS.items()
         if module.rpartition(".")[2] in ("dates", "quantities", "numbers", "categories")}
SPELLED = ('    record = {**record, **{name: spelled(record[name]) for one in ABOUT.get("operators", []) '
           'for name in one["columns"]}}\n')
GATHERED = 'gather(arrays, {"probabilities": found})["probabilities"][0]'
RECORD_KINDS = ("records", "cleaned", "snapshot")
WRITES = "chat"  # the encoder of what is written token by token
NEEDS = {"ngrams": "onnxruntime numpy", "tokens": "onnxruntime numpy tokenizers", "table": "onnxruntime numpy",
         "image": "onnxruntime numpy pillow", WRITES: "onnxruntime numpy tokenizers jinja2", **WITH}
# what answers each task whose answer is no class: modules that go along, imports, the lines, and what must be as recorded
ANSWERS: dict[str, tuple[tuple[str, ...], str, str, tuple[str, ...]]] = {
    "text_regression": ((), "", '    return {"value": float(found["number"][0])}', ()),
    "text_multilabel": ((), "", """    scores, cuts = found["probabilities"].tolist(), ABOUT.get("thresholds", {})
    said = [one for one in range(len(scores)) if scores[one] >= cuts.get(ABOUT["labels"][one], 0.5)]
    named = [ABOUT["labels"][one] for one in sorted(said, key=lambda one: -scores[one])]
    return {"labels": named, "scores": dict(zip(ABOUT["labels"], scores))}""", ("labels",)),
    "text_embedding": ((), "", '    return {"embedding": found["embedding"].tolist()}', ()),
    "token_classification": (("engine.decode.spans",), "from parts.pieces import pieces\nfrom parts.spans import spans_of\n",
                             """    text = record.get(ABOUT["inputs"][0]["name"]) or ""
    return {"spans": spans_of(text, pieces(text), found["probabilities"], ABOUT["labels"])}""", ("spans",)),
    "question_answering": (("engine.decode.answer",), "from parts.answer import answer_of\nfrom parts.pieces import pieces\n",
                           """    text = record.get(SETTINGS["text"]) or ""
    return answer_of(text, pieces(text), found["places"])""", ("text", "start", "end")),
}
ANSWERS["pair_regression"] = ANSWERS["text_regression"]


def write_models(folder: Folder, shop: Shop, ledger: Database) -> None:
    """``models/NAME@VERSION``: the package's own files, ``encode.py`` and ``example.py``."""
    sql = """select n.name, n.version, e.body from name as n join entry as e on e.id=n.entry
             where n.kind='package' order by n.name, n.version"""
    for name, version, text in ledger.rows(sql):
        place = f"models/{name}@{version}"
        parts = {part[0]: part[2] for part in orjson.loads(text)["output"]["parts"]}
        for part, digest in parts.items():
            folder.take(f"{place}/{part}", digest, shop.store)
        if shop.store.has(parts.get("package.json", "")) and "canonical.jsonl" in parts:
            about = orjson.loads(shop.store.path(parts["package.json"]).read_bytes())
            for program, text in programs(about).items():
                folder.write(f"{place}/{program}", [text.encode()])


def programs(about: dict[str, Any]) -> dict[str, str]:
    """``encode.py`` and ``example.py``: the model asked without Mofang, raw record in; none for an unknown encoder."""
    kind = about.get("encoder", {}).get("name", "")
    if kind not in NEEDS:
        return {}
    if not {spec["name"] for spec in about.get("operators", [])} <= {SPELLING, *STEPS}:
        return {}
    inputs = about["inputs"]
    names = ", ".join(f'"{one["name"]}": …' for one in inputs)
    usage, given = f"'{{{names}}}'", "json.loads(sys.argv[1])"
    if len(inputs) == 1 and inputs[0]["role"] == "text":
        usage, given = '"some text"', f'{{{orjson.dumps(inputs[0]["name"]).decode()}: sys.argv[1]}}'
    if len(inputs) == 1 and inputs[0]["role"] == "image":
        usage = "picture.png"
        given = f'{{{orjson.dumps(inputs[0]["name"]).decode()}: base64.b64encode(open(sys.argv[1], "rb").read()).decode()}}'
    filled = {"needs": NEEDS[kind], "settings": f"{kind}.json", "usage": usage.replace("\\", ""), "given": given}
    if kind == WRITES:
        return _writing({**filled, **filled_with(kind)}) | encoder_parts(kind)
    named = ("head", "engine" if kind in WITH else kind)
    taken, row = ("ABOUT, HERE, encode, gather", GATHERED) if kind in WITH else ("ABOUT, HERE, encode", "found[0]")
    filled |= {"taken": taken, "row": row}
    beside, last = (encoder_parts(kind) if kind in WITH else {}), "tail"
    filled |= filled_with(kind) if kind in WITH else {}
    if answering := ANSWERS.get(about["task"]):
        modules, imports, answer, same = answering
        beside |= parts_of(modules) if modules else {}
        filled |= {"imports": imports, "answer": answer + "\n", "names": repr(same)}
        named, last = (*named, *(() if kind in WITH else ("plain",))), "answer"
    head, *rest, tail = ((EXAMPLES / f"{name}.txt").read_text(encoding="utf-8").format(**filled) for name in (*named, last))
    own = "".join(rest)
    if "features" not in about:
        return {"encode.py": head + own, "example.py": tail, **beside}
    made = (EXAMPLES / "features.txt").read_text(encoding="utf-8").format(steps=STEPS)
    assert SPELLED in head, "an example begins with one spelling"
    return {"encode.py": head.replace(SPELLED, "    record = prepared(record)\n") + own + made, "example.py": tail, **_steps()}


def _writing(filled: Mapping[str, str]) -> dict[str, str]:
    """The programs of a generator: its conversations as token ids, and one token after another."""
    head, own, example = ((EXAMPLES / f"{name}.txt").read_text(encoding="utf-8").format(**filled) for name in ("head", "prompt", "write"))
    return {"encode.py": head + own, "example.py": example}


def _steps() -> dict[str, str]:
    """The operators' own code as plain files: what makes features here makes them there."""
    folder = Path(operators.__file__).parent
    found = {f"steps/{name}.py": (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("values", *set(STEPS.values()))}
    return {name: text.replace("mofang.data.operators.", "steps.") for name, text in sorted(found.items())}


def write_records(folder: Folder, shop: Shop, ledger: Database) -> None:
    """``records/``: everything that was collected, cleaned or frozen into a snapshot, each content once; and its list."""
    rows: list[tuple[Any, ...]] = []
    places: dict[str, str] = {}
    for page in ledger.pages("select id, at_us, body from entry where kind in ('done', 'reuse') order by seq"):
        for id, at_us, text in page:
            body = orjson.loads(text)
            output = body.get("output") or {}
            if output.get("kind") not in RECORD_KINDS:
                continue
            parts = tuple(Part(*part) for part in output["parts"])
            digest = manifest_digest(parts)
            if digest not in places:
                places[digest] = f"records/{output['kind']}-{id}"
                for part in parts:
                    folder.take(f"{places[digest]}/{part.name}", part.digest, shop.store)
            rows.append((places[digest], output["kind"], id, body.get("stage", ""), moment_of(at_us),
                         " ".join(body.get("licences", [])), (body.get("measures") or {}).get("rows", "")))
    folder.table("records.csv", ("folder", "kind", "entry", "stage", "at", "licences", "rows"), rows)
