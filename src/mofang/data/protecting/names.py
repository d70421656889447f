"""Names of people, beside words that announce one: Chinese by a list of surnames, English by titles and signatures.

Only names in such places are found; a name in the middle of a sentence needs a model of the language, which is not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from mofang.data.protecting.page import Page, Places
from mofang.data.protecting.places import _among
from mofang.data.protecting.spans import GUESSED, LIKELY, Span
from mofang.data.protecting.words import MAIL

SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦"
    "付傅方白邹孟熊秦邱江尹薛闫阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧司诸常温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申"
    "耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳欧管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪"
    "简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈"
    "匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬"
    "来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊阿乌母裘亓修邰赫杭况那宿鲜印逯隆茹诺战慕危玉银亢嵇公哈湛宾戎勾茅利於呼居揭干但尉冶斯元束檀衣信展阴昝"
    "智幸奉植衡富尧闭由"
)
DOUBLE_SURNAMES = frozenset(
    "欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 令狐 长孙 宇文 司徒 夏侯 端木 南宫 西门 独孤 轩辕 百里 呼延 东郭 钟离 申屠 公羊 闻人 澹台 太史".split()
)
NOT_GIVEN = frozenset(
    "的了是在有和就不也都而及与或着把被让给从向对于等这那个些们么吗呢吧啊以其他她它我你您说道称号码证因很最更还又再只才没无未将已曾要会能可应该先女"
    "先后来去到过做用使由并但如若则即且虽电手住址：，。、！？；男岁年月日时分秒元"
)
FOLLOWS = frozenset(
    "的在是和与及说等电住手身男女先小年号来出已将曾向对因从被把为有到去于报摄讯指认表强介告宣会访同率主致发签接参回给也就都还又说道称问答想要能可以"
    "不没刚正很最，这那，您你我他她请之其如若但并且或而则即今昨明上下购订预付取领签收寄老医教经律师"
)
BEFORE = (
    "姓名 名字 联系人 收件人 收货人 寄件人 发件人 我叫 名叫 叫做 患者 病人 客户 顾客 乘客 旅客 考生 学生 学员 员工 同事 法人 法定代表人 负责人 经办人 "
    "申请人 户主 持卡人 开户名 户名 监护人 被告 被告人 原告 本人 记者 编辑 主编 导演 教练 律师 校长 院长 局长 主席 总理 部长 委员 书记 总统 省长 市长 "
    "主任 经理 董事长 教授 院士 博士 医生 大夫 护士 司机 业主 租客 房东 签收人 承办人 证人 当事人 作者 译者 演员 歌手 作家 同学 朋友 队员 选手 代表 农民 "
    "民警 工人 战士 厂长 处长 科长 所长 镇长 县长 村民 居民 我是"
).split()
AFTER = (
    "先生 女士 小姐 老师 同学 医生 大夫 教授 经理 总经理 主任 律师 同志 师傅 阿姨 董事长 院士 博士 校长 院长 书记 主席 总理 部长 市长 省长 局长 总统 护士 "
    "警官 编辑 记者 夫妇 女儿 儿子"
).split()
WEAK = frozenset("我是 代表 主任 经理 作者 编辑 导演 委员 朋友 同学 学生 客户 编辑 名字 演员 选手 农民 工人 居民 员工 叫做".split())
_FIRST = np.unique([ord(word[0]) << 16 | ord(word[1]) for word in BEFORE])
_LAST = np.unique([ord(word[0]) << 16 | ord(word[1]) for word in AFTER])
_WORDS = sorted(BEFORE, key=len, reverse=True)
_TITLES = sorted(AFTER, key=len, reverse=True)
LINK = re.compile(r"(?:叫做|叫|是|为)?[ ]?[:=]?[ ]?[\"“'《【\[]?")
MARKS = "：:"

_U, _L = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿāăąćčďđēęěğīıłńňőœřśşšťūůűźżž"
_WORD = rf"(?:[{_U}]['’])?[{_U}][{_L}]+(?:[-'’][{_U}]?[{_L}]+)?"
_INITIAL = rf"[{_U}]\."
_PARTICLE = r"(?:van der|van den|van|von|de la|de|der|den|di|da|dos|del|la|le|bin|al|ter)"
FULL = rf"(?:{_WORD}|{_INITIAL})(?: (?:{_INITIAL}|{_PARTICLE})){{0,2}}(?: {_WORD}){{1,2}}"
TITLED = re.compile(rf"(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor)\.? ((?:{_INITIAL} ?){{0,2}}{_WORD}(?: (?:{_INITIAL} )?(?:{_PARTICLE} )?{_WORD}){{0,2}})")
NAMED = re.compile(rf"\s+({FULL}|{_WORD})(?![{_L}A-Za-z])")
WHOLE = re.compile(rf"[ \t]*({FULL})(?![A-Za-z{_L}])")
MAIL_BEFORE = re.compile(rf"({FULL})[\"']?\s{{0,2}}[<(\[]$")
LABEL = re.compile(
    r"(?:full name|\bname|\bauthors?|maintainers?|contact|signed-off-by|reviewed-by|acked-by|reported-by|co-authored-by|written by|"
    r"patient|customer|passenger|recipient|attn|from|to|dear|cc|editor|translator|contributors?)\s*$",
    re.IGNORECASE,
)
CLOSING = re.compile(r"(?:regards|sincerely|thanks|cheers|best|yours|wishes|truly|faithfully|respectfully|cordially)$", re.IGNORECASE)
SIGNED = re.compile(rf"\n+[ \t]*(?:-{{1,2}} ?)?({FULL}|{_WORD})[ \t]*(?:\n|\Z|\0|,)")
RIGHTS = re.compile(rf"[cC©]\)?,?\s+(?:\d{{4}}(?:\s*[-–,]\s*\d{{2,4}})*,?\s+)?(?:by\s+)?({FULL})(?![A-Za-z{_L}])")
NO_NAME = frozenset(
    """Foundation Inc Ltd Corporation Corp Team Project Group University Company Software Systems System The This That These All Any
    Free Open Source Public License Institute Research Technologies Technology Labs Laboratory International Association Society
    Consortium Developers Contributors Authors Committee Department Council Center Centre Networks Network Computer Computing Services
    Security Library Studio Press Limited Organization Organisation Regents Bell Google Microsoft Apple Oracle Intel Facebook Meta
    Python Linux Debian Ubuntu Windows Java Unicode Unix GNU Apache Mozilla Django Red Hat Data Science Development New York San
    Francisco California Street Road Avenue Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May
    June July August September October November December Version Copyright Portions Permission Redistribution Your You My Sir Madam
    Customer Support Mailing List Bug Reports Home Page Release Notes North South East West United States Kingdom China Germany France
    Pty Gmbh Not No None Null True False String Integer Unknown Optional Default Required Mr Mrs Ms Miss Dr Prof""".split()
)


def names(page: Page) -> Iterator[Span]:
    """Names beside a word that announces them."""
    yield from _english(page)
    if page.wide:
        yield from _chinese(page)


def _chinese(page: Page) -> Iterator[Span]:
    codes, han, text = page.codes, page.han, page.text
    pair = codes[han].astype(np.uint32) << np.uint32(16) | codes[han + 1]
    for place in han[_among(pair, _FIRST)].tolist():
        word = next((one for one in _WORDS if text.startswith(one, place)), "")
        if not word:
            continue
        link = LINK.match(text, place + len(word))
        start = link.end() if link else place + len(word)
        size, firm = _size(text, start)
        marked = any(sign in text[place + len(word) : start] for sign in MARKS)
        if size and (firm or marked or word not in WEAK):
            yield Span(start, start + size, "name", LIKELY if marked or word == "我叫" else GUESSED)
    for place in han[_among(pair, _LAST)].tolist():
        word = next((one for one in _TITLES if text.startswith(one, place)), "")
        size = _size_before(text, place) if word else 0
        if size:
            yield Span(place - size, place, "name", LIKELY)


def _size(text: str, start: int) -> tuple[int, bool]:
    """How many signs the Chinese name that begins here has (0: none does), and whether it surely ends there."""
    surname = 2 if text[start : start + 2] in DOUBLE_SURNAMES else 1 if text[start : start + 1] in SURNAMES else 0
    if not surname:
        return 0, False
    given = 0
    while given < 3 and _is_han(text[start + surname + given : start + surname + given + 1]):
        given += 1
    long = given >= 2 and not set(text[start + surname : start + surname + 2]) & NOT_GIVEN
    if given == 2 and long:
        return surname + 2, True
    if given == 1:
        good = text[start + surname] not in NOT_GIVEN
        return (surname + 1 if good else 0), True
    if not given or text[start + surname] in NOT_GIVEN:
        return 0, False
    if long and text[start + surname + 2] in FOLLOWS:
        return surname + 2, True
    if text[start + surname + 1] in FOLLOWS:
        return surname + 1, True
    return (surname + 2, False) if long else (0, False)


def _size_before(text: str, end: int) -> int:
    """How many signs the Chinese name has that ends here: surname and at least one more."""
    for size in (4, 3, 2):
        piece = text[end - size : end]
        if len(piece) < size or not all(map(_is_han, piece)):
            continue
        double = piece[:2] in DOUBLE_SURNAMES
        if double and size > 2 and not set(piece[2:]) & NOT_GIVEN:
            return size
        if size < 4 and piece[0] in SURNAMES and not set(piece[1:]) & NOT_GIVEN and (size == 2 or piece[0] not in NOT_GIVEN):
            return size
    return 0


def _is_han(sign: str) -> bool:
    return "\u4e00" <= sign <= "\u9fff"


def _english(page: Page) -> Iterator[Span]:
    text = page.text
    for place in _many(page, ("M", "r"), ("M", "s"), ("M", "i", "s"), ("D", "r"), ("P", "r", "o", "f")):
        if (found := TITLED.match(text, place)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    for place in _many(page, ("e", " ", "i", "s", " ")):
        if text[place - 3 : place + 1].lower() == "name" and (found := NAMED.match(text, place + 4)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    yield from _labelled(page)
    for place in page.places(",", "\n").tolist():
        if CLOSING.search(page.before(place, 14)) and (found := SIGNED.match(text, place + 1)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)
    for place in _many(page, ("(", "c", ")"), ("(", "C", ")"), ("©",) if page.wide else ("(", "c", ")")):
        at = place if text[place] == "©" else place + 1
        if (found := RIGHTS.match(text, at)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", GUESSED)
    for place in page.places("@").tolist():
        mail = MAIL.search(text, max(place - 66, 0), place + 160)
        if mail and mail.start() <= place:
            before = page.before(mail.start(), 60)
            if (found := MAIL_BEFORE.search(before)) and _may_be_name(found[1]):
                first = mail.start() - len(before) + found.start(1)
                yield Span(first, first + len(found[1]), "name", LIKELY)


def _labelled(page: Page) -> Iterator[Span]:
    """Names after a label and a colon."""
    codes = page.codes
    colons = page.places(":", " ")
    capital = (codes[np.minimum(colons + 2, len(codes) - 1)] - codes.dtype.type(65)) < 26
    letter = (codes[colons - 1] | codes.dtype.type(32)) - codes.dtype.type(97) < 26
    for place in colons[capital & letter].tolist():
        if LABEL.search(page.before(place, 18)) and (found := WHOLE.match(page.text, place + 1)) and _may_be_name(found[1]):
            yield Span(found.start(1), found.end(1), "name", LIKELY)


def _many(page: Page, *words: tuple[str, ...]) -> list[int]:
    found: list[Places] = [page.places(*word) for word in dict.fromkeys(words)]
    return sorted({int(one) for places in found for one in places})


def _may_be_name(text: str) -> bool:
    return not any(word.strip(".,") in NO_NAME for word in re.split(r"[\s-]", text))
