"""Methods of merging models that share names: a class each, and a table of them."""

from ckpttool.surgery.merging.arcee_fusion import ArceeFusion
from ckpttool.surgery.merging.breadcrumbs import Breadcrumbs
from ckpttool.surgery.merging.breadcrumbs_ties import BreadcrumbsTies
from ckpttool.surgery.merging.dare import Dare
from ckpttool.surgery.merging.dare_ties import DareTies
from ckpttool.surgery.merging.della import Della
from ckpttool.surgery.merging.della_linear import DellaLinear
from ckpttool.surgery.merging.karcher import Karcher
from ckpttool.surgery.merging.linear import Linear
from ckpttool.surgery.merging.method import TaskVectorMethod, WeightMethod
from ckpttool.surgery.merging.model_stock import ModelStock
from ckpttool.surgery.merging.nearswap import NearSwap
from ckpttool.surgery.merging.nuslerp import NuSlerp
from ckpttool.surgery.merging.ram import Ram
from ckpttool.surgery.merging.sce import Sce
from ckpttool.surgery.merging.slerp import Slerp
from ckpttool.surgery.merging.sum import Sum
from ckpttool.surgery.merging.task_arithmetic import TaskArithmetic
from ckpttool.surgery.merging.ties import Ties

_METHODS: tuple[type[WeightMethod | TaskVectorMethod], ...] = (
    *(Linear, Sum, TaskArithmetic, Slerp, Ties, Dare, DareTies),
    *(Della, DellaLinear, Breadcrumbs, BreadcrumbsTies, ModelStock, NuSlerp, Karcher),
    *(Sce, Ram, ArceeFusion, NearSwap),
)
METHODS = {method.name: method for method in _METHODS}
"""The methods by their names."""
