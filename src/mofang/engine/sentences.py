"""Sentences of our own, Chinese and English, for made-up requests: written like what people write, taken from nobody.

A model is asked them where it could have become another one. Random pieces of a vocabulary are unlike anything it will ever
be asked, and near its borders everywhere; so they are only a part of the requests. The words below are Mofang's own, under its
licence; which of them stand together is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rng = np.random.Generator

CLAUSES_MAX, LONG_EVERY, LONG_CLAUSES = 5, 40, 24  # clauses of a text; every so many texts one that goes on and on

THINGS = ("房间", "早餐", "服务", "前台", "这本书", "故事", "翻译", "纸张", "印刷", "封面", "屏幕", "键盘", "电池", "包装", "物流", "价格", "质量", "客服", "手机",
    "电影", "音乐", "天气", "交通", "城市", "公园", "医院", "学校", "老师", "课程", "菜", "味道", "环境", "合同", "订单", "发货", "退款", "会议", "报告", "计划",
    "系统", "软件", "网络", "密码", "账户", "银行", "利率", "股票", "公司", "产品", "市场", "政策", "比赛", "球队", "球员", "新闻", "衣服", "颜色", "尺寸", "鞋子",
    "空调", "冰箱", "洗衣机", "汽车", "座椅", "油耗", "车站", "航班", "行李", "门票", "导游", "孩子", "邻居", "医生", "药", "手术")
GOOD = ("很好", "不错", "非常满意", "干净", "舒服", "方便", "便宜", "清楚", "精彩", "感人", "实用", "漂亮", "好吃", "新鲜", "热情", "专业", "及时", "值得推荐",
    "物超所值", "比想象的好", "令人惊喜", "很安静", "运行流畅", "准时到达", "做工精细")
BAD = ("很差", "太贵了", "让人失望", "有点吵", "不干净", "太慢", "坏了", "不能用", "没有说明", "颜色不对", "尺寸偏小", "又冷又硬", "一点意思也没有", "错字很多", "态度恶劣", "漏水",
    "经常死机", "晚了三天", "与描述不符", "不值这个价", "再也不会来了", "找不到人负责", "味道很怪")
NEUTRAL = ("一般", "还可以", "和以前一样", "在二楼", "明天开始", "已经寄出", "需要登记", "写得很长", "分三部分", "有两种颜色", "周末不开放", "由上海发出", "正在修改", "每月一次",
    "还没有结果", "要提前预订", "比较复杂", "在门口领取")
PEOPLE = ("我", "我们", "他", "她", "他们", "我爱人", "同事", "店员", "王经理", "李老师", "一位顾客", "记者", "医生", "司机", "学生", "工程师", "张先生", "妈妈",
    "小朋友", "对方", "公司", "法院", "委员会")
WHEN = ("昨天", "今天上午", "上周五", "去年", "三月十五日", "刚才", "晚上八点", "下个月", "2019年", "每天", "后来", "春节前", "第二天", "半年以后")
WHERE = ("北京", "上海", "广州", "成都", "车站", "办公室", "网上", "医院", "学校", "商场", "酒店", "图书馆", "南京东路", "机场", "村里", "国外", "家里", "会场")
DOES = ("买了", "看了", "等了很久才拿到", "参加了", "介绍了", "修改了", "退回了", "打听了", "预订了", "发布了", "讨论了", "忘记了", "推荐了", "使用了", "比较了", "收到了",
    "检查了", "取消了", "提出了", "同意了", "拒绝了", "打开了", "研究了", "签了")
ASKS = ("什么时候能到", "怎么退换", "多少钱", "在哪里", "支持货到付款吗", "有没有别的颜色", "可以开收据吗", "为什么打不开", "需要带什么材料", "适合老人用吗", "还有货吗")
LINKS = ("，", "，", "，", "，但是", "，而且", "，不过", "，所以", "。", "。", "；", "，就是", "，可惜", "，总之", "！", "……", "，也")
ENDS = ("。", "。", "。", "！", "！！", "～", "？", "")
MARKS = ("👍", "😊", "😡", ":)", "^_^", "哈哈", "呵呵", "OK", "5分", "100%", "【备注】", "(已回复)", "iPhone", "Wi-Fi", "USB", "3.5G",
    "￥199", "A4")

EN_THINGS = ("the room", "the breakfast", "the staff", "this book", "the plot", "the translation", "the screen",
    "the keyboard", "the battery", "the packaging", "the delivery", "the price", "the quality", "customer service",
    "the phone", "the film", "the music", "the weather", "the traffic", "the city", "the hospital", "the school",
    "the teacher", "the course", "the food", "the contract", "the order", "the refund", "the meeting", "the report",
    "the plan", "the system", "the software", "the network", "the account", "the bank", "the market", "the policy",
    "the match", "the team", "the news", "the jacket", "the size", "the car", "the seat", "the station", "the flight",
    "the luggage", "the ticket", "the guide", "our neighbour", "the doctor", "the new version", "the documentation",
    "the answer")
EN_GOOD = ("was excellent", "is very good", "works well", "was clean and quiet", "arrived on time", "is easy to use",
    "was worth every penny", "is beautifully made", "made us laugh", "tastes fresh", "is better than expected",
    "helped at once", "runs smoothly", "is highly recommended")
EN_BAD = ("was terrible", "is far too slow", "broke after two days", "was a waste of money", "never arrived",
    "is full of errors", "was cold and noisy", "does not match the description", "is too small", "keeps crashing",
    "smelled bad", "was rude to us", "is not worth it", "left us disappointed")
EN_NEUTRAL = ("is on the second floor", "starts tomorrow", "has been sent", "comes in two colours", "is closed on Sundays",
    "was changed last week", "has three parts", "costs about 40 dollars", "must be booked in advance",
    "is still being discussed", "is the same as before")
EN_PEOPLE = ("I", "we", "she", "he", "they", "my wife", "a colleague", "the manager", "Mr Brown", "the reporter",
    "a customer", "the driver", "the students", "the court", "the committee", "the engineer", "the company")
EN_DOES = ("bought", "read", "waited an hour for", "returned", "asked about", "booked", "announced", "discussed", "forgot",
    "recommended", "used", "compared", "received", "checked", "cancelled", "approved", "rejected", "opened", "studied",
    "signed")
EN_WHEN = ("yesterday", "this morning", "last Friday", "last year", "on 15 March", "a moment ago", "at 8 pm", "next month",
    "in 2019", "every day", "later", "before Christmas", "the next day", "after six months")
EN_WHERE = ("in London", "in New York", "at the station", "at the office", "online", "at the hospital", "at school",
    "in the hotel", "at the airport", "at home")
EN_ASKS = ("when will it arrive", "how do I return it", "how much is it", "where is it", "can I pay on delivery",
    "is there another colour", "why does it not open", "what do I need to bring", "is it still in stock")
EN_LINKS = (", but ", ", and ", ", so ", ". ", ". ", "; ", ", although ", " because ", "! ", " - ")
EN_ENDS = (".", ".", ".", "!", "", "!!", "...")


def sentences(rng: Rng, count: int, chinese: float = 1.0) -> list[str]:
    """So many texts, this share of them Chinese; mostly one to five clauses, every fortieth much longer."""
    made = []
    for number in range(count):
        clauses = LONG_CLAUSES if number % LONG_EVERY == LONG_EVERY - 1 else int(rng.integers(1, CLAUSES_MAX + 1))
        made.append(_chinese(rng, clauses) if rng.random() < chinese else _english(rng, clauses))
    return made


def share_chinese(sample: Sequence[str]) -> float | None:
    """Of texts that are written in Chinese or Latin letters, the share of Chinese ones; None where others prevail."""
    found, other = list[bool](), 0
    for text in sample:
        letters = [sign for sign in text if sign.isalpha()]
        han = sum("\u3400" <= sign <= "\u9fff" for sign in letters)
        latin = sum(sign < "\u0250" for sign in letters)
        if 2 * (han + latin) < len(letters):
            other += 1
        elif letters:
            found.append(2 * han >= len(letters))
    return sum(found) / len(found) if found and len(found) >= other else None


def _one(rng: Rng, words: Sequence[str]) -> str:
    return words[int(rng.integers(0, len(words)))]


def _chinese(rng: Rng, clauses: int) -> str:
    mood, text = rng.random(), ""
    for number in range(clauses):
        if number:
            text += _one(rng, LINKS)
        kind = rng.random()
        if kind < 0.55:
            said = NEUTRAL if rng.random() < 0.25 else GOOD if rng.random() < mood else BAD
            text += _one(rng, THINGS) + _one(rng, said)
        elif kind < 0.85:
            when, where = (_one(rng, WHEN) if rng.random() < 0.5 else ""), (f"在{_one(rng, WHERE)}" if rng.random() < 0.5 else "")
            text += f"{_one(rng, PEOPLE)}{when}{where}{_one(rng, DOES)}{_one(rng, THINGS)}"
        elif kind < 0.95:
            text += f"请问{_one(rng, THINGS)}{_one(rng, ASKS)}？"
        else:
            text += _one(rng, MARKS)
    return text + _one(rng, ENDS)


def _english(rng: Rng, clauses: int) -> str:
    mood, text = rng.random(), ""
    for number in range(clauses):
        if number:
            text += _one(rng, EN_LINKS)
        kind = rng.random()
        if kind < 0.55:
            said = EN_NEUTRAL if rng.random() < 0.25 else EN_GOOD if rng.random() < mood else EN_BAD
            text += f"{_one(rng, EN_THINGS)} {_one(rng, said)}"
        elif kind < 0.87:
            more = " ".join(one for one in ((_one(rng, EN_WHERE) if rng.random() < 0.5 else ""),
                                            (_one(rng, EN_WHEN) if rng.random() < 0.5 else "")) if one)
            text += f"{_one(rng, EN_PEOPLE)} {_one(rng, EN_DOES)} {_one(rng, EN_THINGS)} {more}".rstrip()
        elif kind < 0.95:
            text += f"{_one(rng, EN_ASKS)}?"
        else:
            text += _one(rng, MARKS)
    return text[:1].upper() + text[1:] + _one(rng, EN_ENDS)
