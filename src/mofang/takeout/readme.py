"""What stands in an export, in both languages, for somebody who has never heard of Mofang."""

from __future__ import annotations

README = """# A shop, as plain files

[中文](#中文)

This folder holds everything that a Mofang shop made and earned, as of one moment (`about.json` says which). Nothing here
needs Mofang: text files are UTF-8, tables are CSV, times are UTC, amounts are whole micros (millionths) of the currency in
`settings.json`. Check that nothing changed: `sha256sum -c SHA256SUMS --quiet`.

| file | what it is |
|---|---|
| `ledger.jsonl` | every run and decision, one JSON object a line, oldest first: stage, settings, inputs, licences, cost, result |
| `names.csv` | which entry of the ledger each name and version stands for |
| `customers.csv`, `keys.csv`, `prices.csv` | who buys, which keys were given out (never the keys themselves), every version of every price |
| `usage.csv` | every answered request: time, customer's account, key, model, units, price version, charge. No content of requests was ever kept |
| `invoices.csv`, `invoice-lines.csv`, `invoices/` | every invoice (an account of what is owed, no tax document), its lines, its PDF and JSON |
| `journals/NAME.jsonl`, `.csv` | the journals behind all that, row by row: customers, keys, prices, usage, invoices |
| `models/NAME@VERSION/` | a model: `graph/model.onnx`, `encoder/` (how a record becomes numbers), `card.md` (how good, under which licences), `package.json` (labels, figures, engines), `canonical.jsonl` (questions with their answers), `example.py` with `encode.py` (ask it without Mofang) |
| `records.csv`, `records/` | every set of records, cleaned set and snapshot, as Parquet; `train/`, `validation/`, `test/` are the parts of a snapshot, `rejected.parquet` what was left out and why |
| `settings.json` | currency, rates, name of the seller |
| `SHA256SUMS` | the digest of every file |

**The ledger is a chain.** `content` is the SHA-256 of what an entry says, and `chain` is the SHA-256 of the text
`previous chain:content` (the first entry's previous chain is empty). The last `chain` is the head; heads are printed on
invoices. In a journal each `writer` has a chain of its own.

**Read a table**: open the CSV in a spreadsheet (a text that begins like a formula has a `'` in front; the JSON lines have
it exactly). **Read records**: `pandas.read_parquet(...)`, DuckDB, or any Parquet viewer. **Ask a model**:
`pip install onnxruntime numpy`, then `python models/NAME@VERSION/example.py "some text"`.

**Not in here**: keys and other secrets, stored answers for retries (kept a day), weights of models that were tried and not
chosen, caches. A backup (`mofang backup`) is what a shop is restored from; this folder is for reading.

## 中文

这个文件夹是一个模坊在某一时刻（见 `about.json`）的全部成果和账目，无需安装模坊即可阅读：文本为 UTF-8，表格为 CSV，时间为 UTC，金额是
`settings.json` 所写货币的百万分之一（整数）。核对文件是否有改动：`sha256sum -c SHA256SUMS --quiet`。

| 文件 | 内容 |
|---|---|
| `ledger.jsonl` | 账本：每次运行和决定一行 JSON，按时间先后：阶段、设置、输入、许可、成本、结果 |
| `names.csv` | 每个名称和版本对应账本的哪一条 |
| `customers.csv`、`keys.csv`、`prices.csv` | 客户、已签发的密钥（不含密钥本身）、历次价格 |
| `usage.csv` | 每次应答的请求：时间、账户、密钥编号、模型、计量、价格版本、收费。请求内容从未保存 |
| `invoices.csv`、`invoice-lines.csv`、`invoices/` | 账单（不是税务发票）、账单明细、PDF 和 JSON |
| `journals/名称.jsonl`、`.csv` | 以上内容背后的逐行日志 |
| `models/名称@版本/` | 模型：`graph/model.onnx`、`encoder/`（记录如何变成数字）、`card.md`（效果和许可）、`package.json`（标签、指标）、`canonical.jsonl`（问题和应得的回答）、`example.py` 和 `encode.py`（不用模坊直接询问） |
| `records.csv`、`records/` | 收集、清洗和快照的全部记录（Parquet）；快照分 `train/`、`validation/`、`test/`；`rejected.parquet` 是被剔除的记录及原因 |
| `settings.json` | 货币、费率、卖方名称 |
| `SHA256SUMS` | 每个文件的摘要 |

**账本是一条链**：`content` 是一条内容的 SHA-256，`chain` 是“上一条的 chain:content”这段文字的 SHA-256（第一条的上一环为空）。
最后一个 `chain` 就是链头，印在账单上。日志里每个 `writer` 各有一条链。

**看表格**：用电子表格软件打开 CSV（以公式符号开头的文字前加了 `'`，JSON 文件里是原样）。**看记录**：用 pandas、DuckDB 等读取 Parquet。
**询问模型**：`pip install onnxruntime numpy`，再运行 `python models/名称@版本/example.py "一段文字"`。

**不包含**：密钥等秘密、为重试保存一天的回答、未被选中的模型权重、缓存。恢复模坊要用备份（`mofang backup`），这个文件夹只供阅读。
"""
