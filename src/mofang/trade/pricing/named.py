"""What the ways of selling are called, in the order in which they are shown."""

from __future__ import annotations

WAYS = {"metered": ("metered", "按量"), "subscription": ("subscription", "订阅"), "lease": ("lease", "租约"),
        "customisation": ("customisation", "定制"), "solution": ("solution", "解决方案"), "other": ("other", "其他")}
LINES = {"usage": ("usage", "用量"), **WAYS, "minimum": ("minimum", "最低消费"), "discount": ("discount", "折扣"),
         "tax": ("tax", "税")}  # kinds of a bill's lines
