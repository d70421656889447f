"""What a lease promises and what it does not prevent: the text beside its file, and what ``mofang lease check`` prints.

It is told to whoever gets the file, in both languages, and holds nothing that opens it.
"""

from __future__ import annotations

from mofang.trade.leases.licence import Licence
from mofang.trade.leases.runner import day

ENDING = ".README.txt"
Line = tuple[str, str]

PREVENTS: tuple[Line, ...] = (
    ("a changed word of the licence, a changed byte of the file, another signature, an older licence",
     "许可中任何改动、文件中任何一个字节的改动、他人的签名、旧许可"),
    ("answers before the first day or after the grace, and a clock that is set back",
     "首日之前、宽限期之后的应答，以及倒拨的时钟"),
    ("a record of use that was changed, shortened, deleted or put back to an earlier state",
     "被改动、截短、删除或回退的用量记录"),
)
NOT_PREVENTED: tuple[Line, ...] = (
    (("Whoever controls the machine can take the model: its weights and its key lie in the memory of the runner, and the runner "
     "is a program that can be changed. The encryption protects the file on its way, in backups and on a stolen disk."),
     "控制机器的人可以取走模型：权重和密钥都在运行器的内存里，而运行器是可以修改的程序。加密保护的是传输途中、备份里和被盗磁盘上的文件。"),
    (("Time and counts are kept by an unchanged runner. A machine that is put back whole to an earlier state is seen only when "
     "its next report does not go on from what was booked."),
     "期限和计数由未被改动的运行器保证；整机回退到以前的状态，要到下次报告接不上时才会发现。"),
    ("Taking the model's answers to teach another model is not prevented, and a model so taught carries no mark.",
     "无法防止用模型的应答去训练另一个模型；这样训练出来的模型不带标记。"),
    ("kill -9 loses up to a second of counts; nothing is ever counted twice.", "kill -9 最多丢失一秒计数；绝不会重复计数。"),
)
UNBOUND: Line = (
    "The file and its code open on any machine until {start}; copies count apart.",
    "在 {start} 之前，文件和解锁码在任何机器上都能打开；各份副本分别计数。")


def promises(licence: Licence) -> list[Line]:
    """What was agreed."""
    grace = f", then with a notice until {day(licence.ends_us)}" if licence.grace_us else ""
    grace_zh = f"，之后宽限至 {day(licence.ends_us)}（会有提示）" if licence.grace_us else ""
    found = [
        (f"It answers from {day(licence.from_us)} until {day(licence.until_us)}{grace}.",
         f"应答期：{day(licence.from_us)} 至 {day(licence.until_us)}{grace_zh}。"),
        (f"On each machine {licence.instances} may run at a time.", f"每台机器可同时运行 {licence.instances} 个。"),
    ]
    if licence.quota:
        found.append((f"{licence.quota:,} units are included; what goes beyond is as agreed with the seller.",
                      f"包含 {licence.quota:,} 个计量单位；超出部分按与卖方的约定。"))
    found.append(("It is bound to the machines that the seller was told." if licence.machines else
                  "It needs the unlock code that the seller tells you over another way, the first time.",
                  "已绑定到告知卖方的机器。" if licence.machines else "首次使用需要卖方通过其他途径告知的解锁码。"))
    return found


def not_prevented(licence: Licence) -> list[Line]:
    """What it does not prevent."""
    start = day(licence.start_until_us)
    unbound = [] if licence.machines else [tuple(one.format(start=start) for one in UNBOUND)]
    return [*NOT_PREVENTED, *((one[0], one[1]) for one in unbound)]


def readme(licence: Licence, fingerprint: str, file: str) -> str:
    """The text beside a lease's file, English and then Chinese."""
    code = "" if licence.machines else " --code CODE"
    english = f"""{licence.model}, leased to {licence.customer} (lease {licence.id})

The licence is signed by the key {fingerprint}.
Ask the seller for it over another way than the file came by. With Mofang installed, without a shop and without a network:

    mofang lease check {file}
    mofang lease run {file}{code}
    mofang lease report {file}

What was agreed
{_list(promises(licence), 0)}
What is counted: requests and units (of a model that writes: tokens read and written), with times, in {file}.use beside the
file. No texts. Nothing is sent by itself: `mofang lease report` writes what you send to the seller when you renew.

What is refused
{_list(PREVENTS, 0)}
What it does not prevent
{_list(not_prevented(licence), 0)}"""
    chinese = f"""{licence.model}，租给 {licence.customer}（租约 {licence.id}）

许可由以下密钥签名：{fingerprint}
请用文件之外的途径向卖方核对。安装模坊后，不需要店铺和网络：

    mofang lease check {file}
    mofang lease run {file}{code}
    mofang lease report {file}

约定
{_list(promises(licence), 1)}
计数内容：请求次数和计量单位（生成模型为读入和写出的词元）及时间，记在旁边的 {file}.use 中，没有文本。
不会自动发送任何内容：续期时用 `mofang lease report` 写出发给卖方的文件。

一律拒绝
{_list(PREVENTS, 1)}
租约不能防止的事
{_list(not_prevented(licence), 1)}"""
    return f"{english}\n\n{chinese}"


def _list(lines: tuple[Line, ...] | list[Line], language: int) -> str:
    return "".join(f"  - {line[language]}\n" for line in lines)
