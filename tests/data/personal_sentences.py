"""Sentences with personal data at known places, Chinese and English, and sentences with numbers that are none.

Everything is made up from the rules of each kind (check sums, ranges, prefixes), by code that shares nothing with the
finders, and written as people write it: without blanks in Chinese, in full-width digits, with dashes, in brackets.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

MOBILES = ("130", "135", "138", "139", "150", "151", "158", "166", "173", "176", "178", "180", "186", "188", "191", "198", "199")
FIRST = ("James", "Mary", "Robert", "Linda", "Michael", "Susan", "David", "Karen", "Thomas", "Helen", "Laura", "Peter", "Olga", "Yuki")
LAST = ("Smith", "Johnson", "Brown", "Garcia", "Miller", "Wilson", "Taylor", "O'Brien", "Martin", "Novak", "Schmidt", "Tanaka", "Rossi")
SLOT = re.compile(r"\{(\w+)\}")


class Sentence(NamedTuple):
    """A text, and the (start, end, kind) of what is personal in it."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


class Maker:
    """Makes values of every kind; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.of = random.Random(seed)

    def digits(self, count: int) -> str:
        return "".join(self.of.choice("0123456789") for _ in range(count))

    def identity(self) -> str:
        area = self.of.choice(["110105", "310104", "330106", "440305", "510107", "420111", "610113", "210102", "350203", "650102"])
        born = date(1945, 1, 1) + timedelta(days=self.of.randrange(24000))
        body = f"{area}{born:%Y%m%d}{self.of.randrange(1000):03}"
        weights = [pow(2, 17 - place, 11) for place in range(17)]
        return body + "10X98765432"[sum(int(one) * weight for one, weight in zip(body, weights, strict=True)) % 11]

    def luhn(self, prefix: str, size: int) -> str:
        body = prefix + self.digits(size - len(prefix) - 1)
        total = 0
        for place, sign in enumerate(reversed(body)):
            value = int(sign) * (2 if place % 2 == 0 else 1)
            total += value - 9 if value > 9 else value
        return body + str(-total % 10)

    def card(self) -> str:
        prefix, size = self.of.choice([("622202", 19), ("622848", 19), ("621700", 19), ("625", 16), ("4", 16), ("51", 16), ("55", 16),
                                       ("37", 15), ("6011", 16), ("3528", 16), ("2221", 16)])
        return self.luhn(prefix, size)

    def card_grouped(self) -> str:
        number, sign = self.luhn(self.of.choice(["622202", "4", "52", "6011"]), 16), self.of.choice(" -")
        return sign.join(number[place : place + 4] for place in range(0, 16, 4))

    def mobile(self) -> str:
        start = self.of.choice(MOBILES)
        return start + self.digits(8)

    def mobile_written(self) -> str:
        number, form = self.mobile(), self.of.randrange(5)
        if form == 0:
            return f"{number[:3]}-{number[3:7]}-{number[7:]}"
        if form == 1:
            return f"{number[:3]} {number[3:7]} {number[7:]}"
        if form == 2:
            return f"+86 {number}"
        return f"+86-{number}" if form == 3 else number

    def mobile_wide(self) -> str:
        return "".join(chr(ord(sign) + 0xFEE0) for sign in self.mobile())

    def landline(self) -> str:
        if self.of.random() < 0.5:
            area, local = self.of.choice(["010", "021", "020", "028", "027"]), self.of.choice("2345678") + self.digits(7)
        else:
            area, local = self.of.choice(["0571", "0755", "0512", "0431", "0898"]), self.of.choice("2345678") + self.digits(self.of.choice([6, 7]))
        return self.of.choice([f"{area}-{local}", f"({area}){local}", f"（{area}）{local}", f"{area}－{local}".replace("－", "-")])

    def plate(self) -> str:
        start = self.of.choice("京沪粤浙苏鲁川闽皖湘鄂豫冀") + self.of.choice("ABCDEF")
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
        form = self.of.randrange(4)
        if form == 0:
            return start + self.of.choice("DF") + self.digits(5)
        if form == 1:
            return start + "·" + self.of.choice(letters) + self.digits(4)
        if form == 2:
            return start + self.digits(4) + self.of.choice(letters)
        return start + self.digits(5)

    def passport(self) -> str:
        return self.of.choice(["E" + self.digits(8), "G" + self.digits(8), "E" + self.of.choice("ABCDEFG") + self.digits(7)])

    def passport_en(self) -> str:
        return self.of.choice([self.of.choice("123456789") + self.digits(8), self.of.choice("ACX") + self.digits(8)])

    def permit(self) -> str:
        return self.of.choice(["C" + self.digits(8), "H" + self.digits(8), "M" + self.digits(8), "L" + self.digits(8)])

    def wechat(self) -> str:
        return self.of.choice(["wxid_", "li_", "zhang", "happy", "sunny-", "chen."]).replace(".", "") + self.of.choice(["ming", "2023", "tea"]) + self.digits(3)

    def email(self) -> str:
        name = self.of.choice(["zhang.san", "li4", "j.smith", "anna_k", "bob-99", "x.y.z", "support.team1", "Wang+news"])
        return f"{name}{self.of.choice(['', self.digits(2)])}@{self.of.choice(['qq.com', '163.com', 'example.org', 'mail.example.co.uk', 'b-c.cn'])}"

    def name_zh(self) -> str:
        surname = self.of.choice("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕") if self.of.random() < 0.95 else (
            self.of.choice(["欧阳", "司马", "诸葛", "上官"]))
        given = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红建国志文波辉鑫宇浩然子轩雨桐梓涵思怡嘉欣"
        return surname + "".join(self.of.choice(given) for _ in range(self.of.choice([1, 2, 2])))

    def name_en(self) -> str:
        first = self.of.choice(FIRST)
        last = self.of.choice(LAST)
        return self.of.choice([f"{first} {last}", f"{first} {self.of.choice('ABCJKM')}. {last}"])

    def last_en(self) -> str:
        return self.of.choice(LAST)

    def address_zh(self) -> str:
        top = self.of.choice(["浙江省杭州市西湖区", "北京市朝阳区", "上海市浦东新区", "广东省深圳市南山区", "四川省成都市武侯区", "江苏省苏州市昆山市", "天津市和平区",
                              "湖南省长沙市岳麓区", "福建省厦门市思明区", "新疆维吾尔自治区乌鲁木齐市天山区", "朝阳区", "西湖区"])
        way = self.of.choice(["文三路", "建国路", "人民中路", "学院街", "解放大道", "中山北路", "世纪大道", "梧桐巷", "和平里东街"])
        house = f"{self.of.randrange(1, 999)}号"
        rest = self.of.choice(["", f"{self.of.randrange(1, 30)}号楼{self.of.randrange(1, 6)}单元{self.of.randrange(101, 3000)}室", f"{self.of.randrange(1, 30)}栋{self.of.randrange(101, 3000)}",
                               f"阳光花园{self.of.randrange(1, 30)}幢{self.of.randrange(101, 3000)}室", f"国际大厦{self.of.randrange(2, 30)}层"])
        return top + way + house + rest

    def address_en(self) -> str:
        street = f"{self.of.randrange(1, 9999)} {self.of.choice(['Main', 'Oak', 'Maple', 'Washington', 'Park', 'Elm', 'North Lake', 'Sunset'])} {self.of.choice(['Street', 'St', 'Avenue', 'Ave', 'Road', 'Rd', 'Boulevard', 'Lane', 'Drive'])}"
        unit = self.of.choice(["", "", f", Apt {self.of.randrange(1, 99)}", f", Suite {self.of.randrange(100, 900)}"])
        town = self.of.choice(["", f", {self.of.choice(['Springfield', 'Austin', 'San Jose', 'Portland'])}, {self.of.choice(['IL', 'TX', 'CA', 'OR'])} {self.of.randrange(10000, 99999)}"])
        return street + unit + town

    def phone_en(self) -> str:
        area, exchange, rest = f"{self.of.randrange(2, 10)}{self.of.choice('023456789')}{self.of.choice('02345678')}", f"{self.of.randrange(2, 10)}{self.of.choice('23456789')}{self.of.choice('023456789')}", self.digits(4)
        if area[1:] == "11" or exchange[1:] == "11":
            return self.phone_en()
        return self.of.choice([f"({area}) {exchange}-{rest}", f"{area}-{exchange}-{rest}", f"+1 {area} {exchange} {rest}", f"+1-{area}-{exchange}-{rest}", f"{area}.{exchange}.{rest}", f"+1{area}{exchange}{rest}", f"1-{area}-{exchange}-{rest}"])

    def phone_world(self) -> str:
        return self.of.choice([f"+44 20 {self.of.randrange(7000, 8999)} {self.digits(4)}", f"+49 30 {self.of.randrange(1000000, 9999999)}", f"+33 1 {self.digits(2)} {self.digits(2)} {self.digits(2)} {self.digits(2)}",
                               f"+81 3-{self.of.randrange(3000, 6999)}-{self.digits(4)}", f"+61 4{self.digits(2)} {self.digits(3)} {self.digits(3)}", f"+4479{self.digits(8)}"])

    def ssn(self) -> str:
        return f"{self.of.choice([self.of.randrange(1, 666), self.of.randrange(667, 900)]):03}-{self.of.randrange(1, 100):02}-{self.of.randrange(1, 10000):04}"

    def iban(self) -> str:
        country, size, letters = self.of.choice([("DE", 22, 0), ("GB", 22, 4), ("FR", 27, 0), ("NL", 18, 4), ("ES", 24, 0), ("CH", 21, 0), ("AT", 20, 0)])
        body = "".join(self.of.choice("ABCDEFGHKLMNPRSTUVW") for _ in range(letters)) + self.digits(size - 4 - letters)
        number = int("".join(str(int(sign, 36)) for sign in body + country + "00"))
        text = f"{country}{98 - number % 97:02}{body}"
        return text if self.of.random() < 0.5 else " ".join(text[place : place + 4] for place in range(0, len(text), 4))

    def ip(self) -> str:
        if self.of.random() < 0.7:
            return f"{self.of.choice([10, 192, 172, 23, 57, 101, 203, 8])}.{self.of.randrange(20, 256)}.{self.of.randrange(0, 256)}.{self.of.randrange(1, 255)}"
        return self.of.choice(["2001:db8::", "fe80::", "2400:3200::"]) + f"{self.of.randrange(1, 65535):x}:{self.of.randrange(1, 9)}"

    # Numbers that are nobody's

    def order(self) -> str:
        return self.of.choice([f"20{self.digits(14)}", self.mobile(), self.digits(12), f"SO{self.digits(11)}", self.digits(16)])

    def stamp(self) -> str:
        return self.of.choice([f"17{self.digits(11)}", f"17{self.digits(8)}", f"17{self.digits(14)}", f"2023{self.of.randrange(1, 13):02}{self.of.randrange(1, 29):02}{self.digits(6)}", "2024-03-15 08:15:30"])

    def zeros(self) -> str:
        return "0" * self.of.choice([8, 11, 13, 16, 18, 19])

    def version(self) -> str:
        return f"{self.of.randrange(0, 12)}.{self.of.randrange(0, 30)}.{self.of.randrange(0, 30)}.{self.of.randrange(0, 99)}"

    def isbn(self) -> str:
        body = "978" + self.digits(9)
        return body + str(-sum(int(one) * (1, 3)[place % 2] for place, one in enumerate(body)) % 10)

    def company(self) -> str:
        signs = "0123456789ABCDEFGHJKLMNPQRTUWXY"
        body = "91" + self.of.choice(["110108", "310115", "440300"]) + "".join(self.of.choice(signs) for _ in range(9))
        total = sum(signs.index(sign) * pow(3, place, 31) for place, sign in enumerate(body))
        return body + signs[-total % 31]

    def hexes(self) -> str:
        return "".join(self.of.choice("0123456789abcdef") for _ in range(self.of.choice([16, 32, 40])))

    def price(self) -> str:
        return self.of.choice([f"{self.of.randrange(1, 999)},{self.digits(3)},{self.digits(3)}.{self.digits(2)}", f"{self.digits(5)}.{self.digits(2)}"])

    def model(self) -> str:
        return self.of.choice([f"RTX{self.digits(4)}-{self.digits(8)}", f"SN{self.digits(12)}", f"ABC-{self.digits(9)}", f"P{self.digits(8)}"])

    def bad_identity(self) -> str:
        good = self.identity()
        return good[:17] + self.of.choice([sign for sign in "0123456789X" if sign != good[17]])

    def bad_card(self) -> str:
        good = self.luhn("622202", 19)
        return good[:18] + str((int(good[18]) + self.of.randrange(1, 10)) % 10)

    def fraction(self) -> str:
        return f"{self.of.randrange(0, 9)}.{self.digits(16)}"


KIND_OF = {
    "identity": "identity-card", "card": "card", "card_grouped": "card", "mobile": "mobile", "mobile_written": "mobile",
    "mobile_wide": "mobile", "landline": "landline", "plate": "plate", "passport": "passport", "passport_en": "passport",
    "permit": "permit", "wechat": "wechat", "email": "email", "name_zh": "name", "name_en": "name", "last_en": "name",
    "address_zh": "address", "address_en": "address", "phone_en": "phone", "phone_world": "phone", "ssn": "ssn", "iban": "iban",
    "ip": "ip",
}  # fmt: skip

ZH = """手机{mobile}|手机号{mobile}，有事请打|请拨打{mobile_written}联系我|我的电话是{mobile}不是{order_long}|手机{mobile_wide}|联系方式：{mobile_written}。
客户来电{mobile}反映屏幕问题|尾款转给{name_zh}先生，电话{mobile}|({mobile})|【{mobile}】已注册|电话/微信同号{mobile}|{mobile}这个号打不通|联系人：{name_zh}，手机：{mobile_written}
身份证{identity}号|身份证号码：{identity}|证件号{identity}，请核对|持{identity}办理入住|本人{name_zh}，身份证{identity}，特此声明|居民身份证（{identity}）复印件|{identity}已实名
银行卡号{card}|请打款到工商银行{card}，户名{name_zh}|卡号：{card_grouped}|我的建行卡{card}被锁了|信用卡{card_grouped}有一笔消费|退款账户{card}|储蓄卡号为{card}。
电话{landline}|座机：{landline}转808|客服电话{landline}，工作时间9点到18点|传真{landline}|公司总机{landline}
车牌{plate}|{plate}违停|请{plate}车主挪车|他开一辆{plate}的白色轿车|车牌号：{plate}，已登记
护照{passport}|护照号码：{passport}|持护照号{passport}入境|港澳通行证{permit}|通行证号码{permit}已过期|台胞证：{permit}
微信号：{wechat}|加我微信{wechat}|微信{wechat}，备注来意|WeChat：{wechat}|我的vx是{wechat}
邮箱{email}请查收|发到{email}就行|E-mail：{email}|邮件：{email}，谢谢|抄送{email}和{email}
我叫{name_zh}，来自杭州|{name_zh}女士您好|姓名：{name_zh}|收件人：{name_zh} {mobile}|联系人{name_zh}|请{name_zh}医生会诊|患者{name_zh}，男，45岁|记者{name_zh}报道
地址：{address_zh}|我住在{address_zh}|请寄到{address_zh}，{name_zh}收|收货地址{address_zh}|快递送到{address_zh}了吗|他家在{address_zh}
登录地址{ip}|从{ip}登录|IP：{ip}，归属地未知|服务器{ip}已下线"""
ZH_NONE = """订单号{order}已发货|订单编号：{order}|流水号{order}，请保存|时间戳{stamp}|日志{stamp}写入成功|编号{zeros}|全零{zeros}不是卡号|版本{version}已发布|升级到v{version}
书号{isbn}|ISBN {isbn}|统一社会信用代码{company}|营业执照{company}|校验和{hexes}|提交{hexes}|价格{price}元|营业额{price}万元|型号{model}|序列号{model}|身份证{bad_identity}校验不过
卡号{bad_card}校验不过|圆周率约{fraction}|比例为{fraction}|2024年3月15日上午9点|房间在3号楼2层|全书共1024页，第13章|这款手机8核16GB内存|京东方科技A股上涨|他说：路还很长，号码牌拿好
条码{isbn}扫不出来|快递单号{order}|学号{order}|评分4.5，排名第138位|参数从0.1.2.3开始|合同编号{order}|服务很好，老师讲得清楚|张贴告示，王者归来|我是来道歉的，不是来吵架的"""
EN = r"""Call me at {phone_en}|My phone number is {phone_en}.|Tel: {phone_en}, ask for help|phone={phone_en}|Reach us on {phone_world} in the mornings|mobile {phone_world}|Fax: {phone_en}|({phone_en})
SSN {ssn}|Her social security number is {ssn}.|SSN: {ssn} (verified)|the applicant, {ssn}, was approved
Card {card}|Paid with Visa {card_grouped}|credit card number {card}|My card is {card_grouped}, expires soon|charged to account {card}|Mastercard: {card_grouped}
IBAN {iban}|Please transfer to {iban} today|IBAN: {iban}, thank you|account {iban}.
Write to {email}|E-mail: {email}.|<{email}>|contact {email}, or {email}|mailto:{email}|"{email}" bounced
from {ip} port 22|client {ip} connected|IP address {ip}|ping {ip}|listening on {ip}|blocked {ip}, too many tries
Mr. {last_en} called twice|Dear Ms {last_en}, your order is here|Dr. {name_en} will see you now|My name is {name_en}, I live nearby|Name: {name_en}|Author: {name_en}|Contact: {name_en} <{email}>
Best regards,\n{name_en}\n|Yours sincerely,\n{name_en}\nSales|Signed-off-by: {name_en} <{email}>|Copyright (c) 2019 {name_en}|Patient: {name_en}, admitted on Monday|Prof. {last_en} agrees
She lives at {address_en}|Ship to {address_en}|Address: {address_en}.|deliver to {address_en} before noon|moved from {address_en} last year
Passport {passport_en}|passport number: {passport_en}|her passport no. {passport_en} expired|WeChat: {wechat}|WeChat ID {wechat} please|{name_en} <{email}>"""
EN_NONE = """Order {order} has shipped|order number: {order}|Invoice {order} is due|tracking number {order}|timestamp {stamp}|at {stamp} the job ended|all zeros {zeros}|id {zeros} is reserved
version {version} is out|upgrade to v{version}|release {version} fixes it|ISBN {isbn}|isbn: {isbn}|sha1 {hexes}|commit {hexes}|price ${price}|a total of {price} euros|model {model}|serial number {model}
pi is about {fraction}|the ratio {fraction} fell|see section 3.2.1.4|pages 138-145, chapter 13|published on 2024-03-15 at 08:15|std::vector and a::b are names|the icon@2x.png file|numpy@1.2.3 is pinned
in 1999 there were 12345 of them|bug 13800138000 was closed|card number {bad_card} is not valid|ticket {order}|build {stamp}|seed {order}|the Free Software Foundation, Inc.|Monday, March 4|size {price} bytes
May the force be with you|Best practice is to test early|10.5 MB/s against 0.8|Drive carefully|The Street is long|coordinates 30.2741 and 120.1551|batch {isbn}|part {model}|sha256 {hexes}{hexes}"""
LEADS = {"zh": ("", "", "您好，", "备注：", "【通知】", "他说"), "en": ("", "", "Note: ", "Hello, ", "- ")}
TAILS = {"zh": ("", "", "。", "，谢谢", "！", "，请尽快处理"), "en": ("", "", ".", ", thanks", " today", " please")}


def sentences(language: str, count: int, seed: int = 7, share_none: float = 0.35) -> list[Sentence]:
    """Sentences of one language, the same for the same seed; so many of them hold nothing personal."""
    maker = Maker(seed)
    good, none = ((ZH, ZH_NONE) if language == "zh" else (EN, EN_NONE))
    with_some, without = _templates(good), _templates(none)
    made = []
    for number in range(count):
        chosen = without if maker.of.random() < share_none else with_some
        made.append(_sentence(maker, chosen[number % len(chosen)], language))
    return made


def _templates(text: str) -> list[str]:
    return [one for line in text.split("\n") for one in line.replace("\\n", "\n").split("|") if one]


def _sentence(maker: Maker, template: str, language: str) -> Sentence:
    lead, tail = maker.of.choice(LEADS[language]), maker.of.choice(TAILS[language])
    if "\n" in template:
        lead, tail = "", ""
    pieces, spans, length = [lead], [], len(lead)
    for place, piece in enumerate(SLOT.split(template)):
        if place % 2:
            kind = KIND_OF.get(piece, "")
            make: Callable[[], str] = (lambda: maker.digits(13)) if piece == "order_long" else getattr(maker, piece)
            piece = make()
            if kind:
                spans.append((length, length + len(piece), kind))
        pieces.append(piece)
        length += len(piece)
    return Sentence("".join(pieces) + tail, tuple(spans))
