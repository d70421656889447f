"""The families: one module per way to learn.

Importing them is light; what they need to work is imported when they do.
"""

from mofang.fit.families.averaged import Averaged
from mofang.fit.families.blend import Blend
from mofang.fit.families.cross import Cross, Twin
from mofang.fit.families.encoder import Encoder
from mofang.fit.families.frozen import Frozen
from mofang.fit.families.generator import Generator
from mofang.fit.families.labeller import Labeller
from mofang.fit.families.linear import Linear
from mofang.fit.families.mlp import Mlp
from mofang.fit.families.nearest import Nearest
from mofang.fit.families.overlap import Overlap
from mofang.fit.families.pretrained import Pretrained
from mofang.fit.families.prompted import Prompted
from mofang.fit.families.reader import Reader
from mofang.fit.families.resnet import Resnet
from mofang.fit.families.rnn import Rnn
from mofang.fit.families.static import Static
from mofang.fit.families.surroundings import Surroundings
from mofang.fit.families.termvectors import TermVectors
from mofang.fit.families.textvectors import TextVectors
from mofang.fit.families.xgboost import Xgboost
from mofang.fit.family import Family

KINDS: dict[str, type[Family]] = Family.kinds

__all__ = [
    "KINDS",
    "Averaged",
    "Blend",
    "Cross",
    "Encoder",
    "Frozen",
    "Generator",
    "Labeller",
    "Linear",
    "Mlp",
    "Nearest",
    "Overlap",
    "Pretrained",
    "Prompted",
    "Reader",
    "Resnet",
    "Rnn",
    "Static",
    "Surroundings",
    "TermVectors",
    "TextVectors",
    "Twin",
    "Xgboost",
]
