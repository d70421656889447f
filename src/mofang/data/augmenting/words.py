"""Small tables of our own: words that mean about the same, signs that sound or look alike, keys that lie side by side.

Words stand together only where one may replace the other without turning a judgement round.
"""

from __future__ import annotations

from functools import cache

_CHINESE = """
好 不错 棒|很好 非常好 挺好|喜欢 喜爱 中意|满意 称心 满足|漂亮 好看 美观|干净 整洁 洁净|便宜 实惠 划算|快 迅速 快速|热情 热心 亲切|舒适 舒服
推荐 值得推荐|方便 便利 便捷|清楚 清晰 明白|高兴 开心 愉快|精彩 出色 出彩|有趣 有意思|安静 清静|新鲜 鲜美|详细 详尽 细致|结实 耐用 牢固
差 糟糕 差劲|失望 扫兴 失落|难看 丑陋|脏 肮脏 不干净|贵 昂贵|慢 缓慢|冷漠 冷淡 爱理不理|后悔 懊悔|无聊 乏味 枯燥|吵 嘈杂 吵闹
麻烦 费事|破旧 陈旧 老旧|坏 损坏|难吃 不好吃|模糊 不清楚|骗人 欺骗|垃圾 废物|生气 恼火 气愤|难受 不舒服|错误 差错
非常 十分 特别 相当|很 挺 蛮|有点 有些 稍微|一直 始终 总是|马上 立刻 立即|但是 可是 不过 然而|因为 由于|所以 因此|如果 要是 假如|以及 和 与
觉得 感觉 认为|知道 了解|看 瞧|买 购买 选购|使用 用|帮助 协助|开始 起初|结束 完结|问题 毛病|质量 品质|价格 价钱 售价|服务 服务态度
房间 客房|酒店 宾馆 旅馆|早餐 早饭|老板 店主|客服 售后|快递 物流|手机 电话|电脑 计算机|书 图书 书籍|孩子 小孩|朋友 友人|时候 时间|地方 位置
"""
_ENGLISH = """
good fine nice|great excellent superb|like enjoy|love adore|happy glad pleased|beautiful pretty lovely
clean tidy spotless|cheap inexpensive
fast quick rapid|friendly kind warm|comfortable cosy comfy|easy simple|clear plain|funny amusing|quiet calm
fresh crisp|sturdy solid durable
bad poor|awful terrible dreadful|disappointed let-down|ugly unattractive|dirty filthy|expensive costly pricey
slow sluggish|rude impolite
boring dull tedious|noisy loud|broken damaged|wrong incorrect|angry annoyed|difficult hard|old aged|useless worthless
sad unhappy
very really quite|almost nearly|always constantly|often frequently|quickly swiftly|but yet|because since
therefore thus|also too|maybe perhaps
buy purchase|use employ|help assist|begin start|end finish|think believe|say state|see notice|big large|small little
movie film|picture photo
price cost|quality standard|problem issue|room chamber|hotel inn|shop store|child kid|friend pal|place spot|work job
answer reply|choose pick
"""
_SOUND = """
的地得|在再|做作坐座|他她它|已以己|那哪|象像|和合河|情清请青|是事市式|时十实石|只支知之|有又友右|后候|进近|成城程|生声升|公工功|心新|分份纷
长常尝|原员元园|气汽器|期其奇|意义易|影应|话画化|身深|见件间|教叫较|买卖|店点电|房方|贵柜|快块|慢漫|好号|差查|热惹|服福|务物|价架|质制
"""
_SHAPE = """
己已巳|未末|人入八|土士|日曰目|大太犬|干千于|天夭|木本术|刀力|候侯|晴睛|拨拔|暖暧|辩辨辫|折拆|幻幼|今令|免兔|享亨|戊戌戍|孑子|夕歹|万方|乌鸟|风凤|处外
"""
NEGATIONS = frozenset((
    "不", "没", "没有", "别", "无", "非", "未", "莫", "勿",
    "not", "no", "never", "none", "nor", "cannot", "without", "hardly", "barely", "nothing",
))
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """A word to those that may stand in its place."""
    found: dict[str, tuple[str, ...]] = {}
    for table in (_CHINESE, _ENGLISH):
        for group in table.strip().replace("\n", "|").split("|"):
            words = group.split()
            for word in words:
                found[word] = tuple(dict.fromkeys([*found.get(word, ()), *(one for one in words if one != word)]))
    return found


@cache
def alike() -> dict[str, str]:
    """A Chinese character to those that sound or look like it, an English letter to those beside it on the keyboard."""
    found: dict[str, str] = {}
    for group in (_SOUND + "|" + _SHAPE).replace("\n", "|").split("|"):
        for sign in group.strip():
            found[sign] = found.get(sign, "") + "".join(one for one in group.strip() if one != sign)
    for number, row in enumerate(_KEYS):
        for place, key in enumerate(row):
            near = row[max(0, place - 1): place] + row[place + 1: place + 2]
            if number:
                near += _KEYS[number - 1][place: place + 2]
            found[key] = near
    return found
