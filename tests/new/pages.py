"""What the walks of docs/tables.md and docs/photos.md start from."""

from __future__ import annotations

import random
from pathlib import Path

from tests.new.shapes20 import identity, person, phone


def customers(path: Path, rows: int, seed: int = 7, first: int = 0) -> None:
    """A workbook as an office exports it: a sheet of notes, a title, identity numbers as numbers, a column that is filled
    once a customer has gone."""
    from openpyxl import Workbook

    chance = random.Random(seed)
    book = Workbook()
    book.active.title = "notes"
    book.active.append(["Exported by customer service"])
    sheet = book.create_sheet("customers")
    sheet.append(["Customers of 2024"])
    sheet.append(["name", "identity", "phone", "age", "monthly", "plan", "complaints", "closed_at", "churned"])
    for place in range(rows):
        complaints = chance.choice((0, 0, 0, 1, 1, 2, 3, 4))
        gone = chance.random() < 0.06 + 0.2 * complaints
        row = [person(chance), int(identity(chance)[:15]) * 1000.0, phone(chance), chance.randrange(18, 75),
               round(chance.gauss(90 if gone else 120, 30), 1), chance.choice(["basic", "plus", "family"]), complaints,
               f"2024-{chance.randrange(1, 13):02d}-{chance.randrange(1, 28):02d}" if gone and chance.random() < 0.97 else None,
               ("Yes" if chance.random() < 0.1 else "yes") if gone else "no"]
        if place >= first:
            sheet.append(row)
    book.save(path)


def parcels(folder: Path) -> None:
    """Phone photos in two folders with Chinese names: half of them lie on their side and say so in EXIF, one is cut short,
    one was saved twice."""
    from PIL import Image, ImageDraw

    chance = random.Random(8)
    for place in range(100):
        damaged = place % 4 == 0
        label = "破损" if damaged else "完好"
        (folder / label).mkdir(parents=True, exist_ok=True)
        image = Image.effect_noise((240, 320), 40).convert("RGB")
        draw = ImageDraw.Draw(image)
        left, top = chance.randrange(20, 60), chance.randrange(30, 100)
        draw.rectangle((left, top, left + 140, top + 160), fill=(176 + chance.randrange(20), 128, 70))
        if damaged:
            draw.polygon([(left + 70, top), (left + 30 + chance.randrange(80), top + 120), (left + 120, top + 20)], fill=(30, 20, 10))
        exif = Image.Exif()
        if place % 2:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[0x0112] = 6
            exif.get_ifd(0x8825)[1] = "N"
        image.save(folder / label / f"微信图片_2024{place:04d}.jpg", quality=80, exif=exif)
    whole = (folder / "完好" / "微信图片_20240001.jpg").read_bytes()
    (folder / "完好" / "微信图片_20240001 (1).jpg").write_bytes(whole)
    (folder / "完好" / "微信图片_20240002.jpg").write_bytes(whole[: len(whole) // 3])


def comments(path: Path) -> None:
    """Comments as a shop exports them: HTML, advertising, phone numbers, laughs, copies, a language nobody asked for."""
    import csv

    chance = random.Random(9)
    good, bad = ("很好", "满意", "干净", "热情"), ("很差", "失望", "肮脏", "冷漠")
    things = ("房间", "早餐", "前台", "服务", "位置", "电梯", "窗户", "毛巾", "价格", "隔音")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["comment", "stars"])
        for place in range(200):
            words = "，".join(chance.choice(things) + chance.choice(bad if place % 2 else good) for _ in range(4))
            writer.writerow([f"<p>这次住在{place}号房间，{words}。</p>", "1星" if place % 2 else "5星"])
        writer.writerow(["前台的人都很好，有事请打我的手机13800138000，谢谢你们的热情", "5星"])
        writer.writerow(["加微信领红包，全网最低价，名额不多，先到先得", "5星"])
        writer.writerow(["早餐太好吃了！！！！！！哈哈哈哈哈哈哈，下次还会再来住这里", "5星"])
        writer.writerow(["Le comité qui s'est réuni au printemps a déclaré qu'il examinerait tous les documents", "5星"])
        writer.writerow(["<p>这次住在1号房间</p>", ""])
