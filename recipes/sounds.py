"""sounds: is a spoken sign a digit or a letter? 36 recordings of one voice (8 kHz, 8 bit), from the package captcha.

It ends in data, a snapshot with variants of its training part: there is no task for sounds yet. 36 recordings of one
voice are enough to see every step, and far too few for a model that should understand others.
"""

from mofang.recipe import Budget, Shop, assess, augment, clean, collect, snapshot

NAME = "sounds"


def main(shop: Shop, budget: Budget):
    records = shop.run(
        collect,
        source="package:captcha/data",       # one folder for each sign, 0 to 9 and A to Z, and a beep beside them
        licence="BSD-3-Clause",              # of the package
        origin="captcha 0.7.1",
    )
    cleaned = shop.run(
        clean, records, shop.last(NAME, "cleaned"),
        labels="0,1,2,3,4,5,6,7,8,9=digit;A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P,Q,R,S,T,U,V,W,X,Y,Z=letter",
        min_seconds=0.15,                    # the beep is shorter
        max_silence=0.8,
    )
    data = shop.run(snapshot, cleaned / "kept", shop.last(NAME, "snapshot"),  # an old record never changes sides
                    task="sound_classification", label="label", inputs=("audio",), validation=0.2, test=0.2)
    shop.run(assess, data)
    return shop.run(augment, data, times=3)  # noise, speed and masked moments; the other parts keep their bytes
