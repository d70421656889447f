"""Our gateway in front of the double: python bench/_gateway_server.py SHOP PORT DOUBLE_PORT; the key lies in SHOP/live."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from _noop_server import USUAL, stock

from mofang.data.remote.secret import secret_value
from mofang.trade.elsewhere.gateway import Gateway
from mofang.trade.elsewhere.remotes import remote_add
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.web.server import run_server

if __name__ == "__main__":
    shop, port, double = stock(Path(sys.argv[1]), USUAL), int(sys.argv[2]), int(sys.argv[3])
    here = f"127.0.0.1:{double}"
    shop.act(remote_add, name="double", url=f"http://{here}/v1", model="double", price="2.00/1000000", output=4, allow_private=(here,))
    again = shop.journals.db.again
    directory = Directory(again(), shop.secret("keys"))
    desk = Desk(directory, Meter(again()), [], again())
    desk.gateway = Gateway(directory, partial(secret_value, shop))
    run_server(desk, "127.0.0.1", port, ready=lambda address: print(address, flush=True), folder=shop.path / "scratch")
