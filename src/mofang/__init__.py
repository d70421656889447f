"""Mofang 模坊: the workshop in which a company turns its own records into a model that it can sell.

Floors, each importing only those to its left:
core < data < engine < fit < judge < manage < serve < trade < watch < web
"""

__version__ = "0.1.0"
