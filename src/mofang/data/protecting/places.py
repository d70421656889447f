"""Addresses of people: Chinese ones from the province down to the room, and streets with a house number in English.

No list of all streets is kept. A Chinese address is told by its levels (省, 市, 区, 路, 号), one of English by a number,
names in capitals and a word such as Street. Villages and houses that only their neighbours can place are missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from mofang.data.protecting.page import Page
from mofang.data.protecting.spans import GUESSED, LIKELY, SURE, Span

PROVINCE_NAMES = (
    "北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北 湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 "
    "台湾 内蒙古 广西 西藏 宁夏 新疆 香港 澳门"
).split()
CITY_NAMES = (
    "石家庄 唐山 秦皇岛 邯郸 邢台 保定 张家口 承德 沧州 廊坊 衡水 太原 大同 阳泉 长治 晋城 朔州 晋中 运城 忻州 临汾 吕梁 呼和浩特 包头 乌海 赤峰 "
    "通辽 鄂尔多斯 呼伦贝尔 沈阳 大连 鞍山 抚顺 本溪 丹东 锦州 营口 阜新 辽阳 盘锦 铁岭 葫芦岛 长春 四平 辽源 通化 白山 松原 白城 延边 哈尔滨 "
    "齐齐哈尔 鸡西 鹤岗 双鸭山 大庆 伊春 佳木斯 七台河 牡丹江 黑河 绥化 南京 无锡 徐州 常州 苏州 南通 连云港 淮安 盐城 扬州 镇江 泰州 宿迁 杭州 "
    "宁波 温州 嘉兴 湖州 绍兴 金华 衢州 舟山 台州 丽水 合肥 芜湖 蚌埠 淮南 马鞍山 淮北 铜陵 安庆 黄山 滁州 阜阳 宿州 六安 亳州 池州 宣城 福州 厦门 "
    "莆田 三明 泉州 漳州 南平 龙岩 宁德 南昌 景德镇 萍乡 九江 新余 鹰潭 赣州 吉安 宜春 抚州 上饶 济南 青岛 淄博 枣庄 东营 烟台 潍坊 济宁 泰安 威海 "
    "日照 临沂 德州 聊城 滨州 菏泽 郑州 开封 洛阳 平顶山 安阳 鹤壁 新乡 焦作 濮阳 许昌 漯河 三门峡 南阳 商丘 信阳 周口 驻马店 武汉 黄石 十堰 宜昌 "
    "襄阳 鄂州 荆门 孝感 荆州 黄冈 咸宁 随州 恩施 长沙 株洲 湘潭 衡阳 邵阳 岳阳 常德 张家界 益阳 郴州 永州 怀化 娄底 湘西 广州 韶关 深圳 珠海 汕头 "
    "佛山 江门 湛江 茂名 肇庆 惠州 梅州 汕尾 河源 阳江 清远 东莞 中山 潮州 揭阳 云浮 南宁 柳州 桂林 梧州 北海 防城港 钦州 贵港 玉林 百色 贺州 河池 "
    "来宾 崇左 海口 三亚 儋州 成都 自贡 攀枝花 泸州 德阳 绵阳 广元 遂宁 内江 乐山 南充 眉山 宜宾 广安 达州 雅安 巴中 资阳 贵阳 六盘水 遵义 安顺 毕节 "
    "铜仁 昆明 曲靖 玉溪 保山 昭通 丽江 普洱 临沧 大理 红河 西双版纳 拉萨 日喀则 西安 铜川 宝鸡 咸阳 渭南 延安 汉中 榆林 安康 商洛 兰州 嘉峪关 金昌 "
    "白银 天水 武威 张掖 平凉 酒泉 庆阳 定西 陇南 西宁 海东 银川 石嘴山 吴忠 固原 中卫 乌鲁木齐 克拉玛依 吐鲁番 哈密 昌吉 伊犁 喀什 昆山 义乌 台北 高雄"
).split()
_NAMED = "|".join(sorted([*PROVINCE_NAMES, *CITY_NAMES], key=len, reverse=True))
_H = "(?:和平|(?![的了在是和与我你他她您住到去址寄送请至距离及或把被让给说这那个都就也很不没从将并但因所以])[\u4e00-\u9fff])"
_REGION = (
    rf"(?:(?:中国)?(?:{_NAMED})(?:壮族|回族|维吾尔)?(?:特别行政区|自治区|省|市|地区|州)?[ ,]?){{1,3}}"
)
_AREA = rf"(?:{_H}{{1,7}}?(?:自治州|自治县|开发区|高新区|新区|区|县|旗|市|盟)[ ,]?)"
_TOWN = rf"(?:{_H}{{1,6}}?(?:街道办事处|街道|镇|乡|苏木)[ ,]?)"
_WAYS = "大道|大街|中路|东路|西路|南路|北路|路|街|道|巷|弄|胡同|里弄|村|屯|庄|社区|小区|花园|花苑|苑|公寓|大厦|广场|工业园|科技园|产业园|园区|家园|新城|公馆|华府|中心|庭院|大院|工业区|校区|大楼"
_ROAD = rf"(?:(?:[0-9]{{1,3}}|[A-Z])?{_H}{{1,8}}?(?:{_WAYS})(?:[东西南北中]?[0-9一二三四五六七八九十]{{0,3}}段)?)"
_HOUSES = rf"(?:{_H}{{1,8}}?(?:{_WAYS}|园|城|府|湾|庭|里|坊|厂|院|楼))"
_NUMBER = (
    r"(?:[ ,]?(?:[0-9]{1,5}(?:[-之][0-9]{1,4})?|[A-Za-z][0-9]{0,3}|[甲乙丙丁东西南北]|[一二三四五六七八九十百]{1,4})"
    r"(?:号院|号楼|号|弄|栋|幢|座|单元|室|层|楼|户|组|队|房|门|区))"
)
_TAIL = rf"(?:(?:[ ,]?{_HOUSES})?(?:{_NUMBER})+(?:[ -]?[0-9]{{2,5}}(?:室|房|号)?(?![0-9年月.]))?)"
REGION = re.compile(_REGION)
CHINESE = re.compile(
    rf"(?:{_REGION}{_AREA}{{0,2}}{_TOWN}?|{_AREA}{{1,3}}{_TOWN}?|{_TOWN}){_ROAD}{{1,2}}(?:{_TAIL}){{0,4}}"
    rf"|(?:{_REGION}{_AREA}{{1,2}}{_TOWN}?|{_AREA}{{1,3}}{_TOWN})(?:{_TAIL}){{1,3}}"
    rf"|{_ROAD}{_NUMBER}(?:{_TAIL}){{0,3}}(?:[ -]?[0-9]{{2,5}}(?:室|房)?(?![0-9年月.]))?"
)
LEVEL = re.compile(r"省|市|区|县|旗|镇|乡|街道")
WORDS = re.compile(r"(?:地址|住址|住在|家住|现居|户籍|居住|寄到|送到|寄往|位于|收货|所在地)")
NOT_A_PLACE = re.compile(r"铁路|公路|网路|线路|思路|道路|电路|回路|门路|出路|套路|知道|频道|管道|味道|报道|渠道|农村|市中心|数据中心")
HOUSE_SIGNS = np.array([ord(sign) for sign in "号弄栋幢座室楼单组"], np.uint16)
PAIRS = np.unique([ord(name[0]) << 16 | ord(name[1]) for name in (*PROVINCE_NAMES, *CITY_NAMES, "地址", "住址", "家住", "住在")])
REACH = 48

_CAPITAL = r"[A-Z][A-Za-z'’.-]*"
_STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Square|Sq|Terrace|Parkway|Pkwy|Highway|Hwy|"
    "Crescent|Close|Circle|Cir|Trail|Alley|Quay"
)
ENGLISH = re.compile(
    rf"(?<![0-9A-Za-z.,$£€#/-])\d{{1,5}}[A-Za-z]?(?:[-/]\d{{1,4}})? (?:[NSEW]\.? )?(?:{_CAPITAL} |\d{{1,3}}(?:st|nd|rd|th) ){{1,4}}?"
    rf"(?:{_STREETS})\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|Rm|#)\.? ?#?[0-9A-Za-z-]{1,6}\b|,? (?:First|Second|Third|Fourth|Fifth) Floor)?"
    rf"(?:,?[ \n]{{1,2}}(?:{_CAPITAL}[ ]?){{1,3}},? ?(?:[A-Z]{{2}}\b|[A-Z][a-z]+)?,? ?(?:\d{{5}}(?:-\d{{4}})?\b|[A-Z]{{1,2}}\d[A-Z0-9]? ?\d[A-Z]{{2}}\b))?"
)


def addresses(page: Page) -> Iterator[Span]:
    """Addresses, Chinese and English."""
    yield from _english(page)
    if page.wide:
        yield from _chinese(page)


def _chinese(page: Page) -> Iterator[Span]:
    last = 0
    for low, high in _windows(page):
        for found in CHINESE.finditer(page.text, max(low, last), high):
            span = _chinese_span(page, found)
            if span:
                last = span.end
                yield span


def _windows(page: Page) -> Iterator[tuple[int, int]]:
    """Stretches that hold a house number, the name of a region, or a word that announces an address; joined where they
    overlap, so that no address is cut."""
    codes, han, digits = page.codes, page.han, page.digits
    numbered = digits[np.isin(codes[digits + 1], HOUSE_SIGNS)]
    pair = codes[han].astype(np.uint32) << np.uint32(16) | codes[han + 1]
    named = han[_among(pair, PAIRS)]
    low = np.concatenate([numbered - REACH, named])
    high = np.concatenate([numbered + REACH, named + 2 * REACH])
    order = np.argsort(low, kind="stable")
    begin = end = -1
    for first, last in zip(low[order].tolist(), high[order].tolist(), strict=True):
        if first > end:
            if end > 0:
                yield max(begin, 0), end
            begin = first
        end = max(end, last)
    if end > 0:
        yield max(begin, 0), end


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    place = np.searchsorted(known, values)
    place[place == len(known)] = 0
    return np.asarray(known[place] == values)


def _chinese_span(page: Page, found: re.Match[str]) -> Span | None:
    text = found[0].rstrip(" ,")
    if NOT_A_PLACE.search(text) or len(text) < 5:
        return None
    levels, numbered = len(LEVEL.findall(text)), any("0" <= sign <= "9" for sign in text)
    said = bool(WORDS.search(page.before(found.start(), 6)))
    if numbered and (levels or said):
        return Span(found.start(), found.start() + len(text), "address", SURE if levels > 1 else LIKELY)
    if levels >= 2 or said and levels:
        return Span(found.start(), found.start() + len(text), "address", LIKELY)
    return Span(found.start(), found.start() + len(text), "address", GUESSED) if numbered else None


def _english(page: Page) -> Iterator[Span]:
    codes, digits = page.codes, page.digits
    ends = digits[(codes[digits + 1] == 32) & (codes[np.minimum(digits + 2, len(codes) - 1)] - codes.dtype.type(65) < 26)]
    last = 0
    for place in ends:
        at = int(place)
        low = at
        while low > 0 and at - low < 6 and page.text[low - 1].isdigit():
            low -= 1
        found = ENGLISH.match(page.text, max(low, last))
        if found:
            last = found.end()
            yield Span(found.start(), found.end(), "address", LIKELY)
