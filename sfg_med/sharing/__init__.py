# SPDX-License-Identifier: Apache-2.0
"""The method: groups of tasks, grouping distributions, stochastic, fixed and compact layers, the path form."""

from sfg_med.sharing.affinity import affinities, compare_rdms, point_affinity, rdm
from sfg_med.sharing.branching import Partition, Tree
from sfg_med.sharing.convolution import SharingConv
from sfg_med.sharing.distribution import GroupDistribution, entropy, initial_probabilities
from sfg_med.sharing.features import Features, concatenate
from sfg_med.sharing.fixing import Reserve
from sfg_med.sharing.gradient_clusters import GradientClusters
from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import FREE, IDLE, InheritedGroups, KernelGroups
from sfg_med.sharing.objective import VariationalObjective, mean_entropy
from sfg_med.sharing.paths import PathConv, remask
from sfg_med.sharing.roaming import RoamingMasks
from sfg_med.sharing.sampling import GroupPolicy, membership
from sfg_med.sharing.schedule import GroupingSchedule, TemperatureSchedule

__all__ = [
    "FREE",
    "IDLE",
    "Features",
    "GradientClusters",
    "GroupDistribution",
    "GroupPolicy",
    "GroupingSchedule",
    "InheritedGroups",
    "KernelGroups",
    "Partition",
    "PathConv",
    "Reserve",
    "RoamingMasks",
    "SharingConv",
    "TaskGroups",
    "TemperatureSchedule",
    "Tree",
    "VariationalObjective",
    "affinities",
    "compare_rdms",
    "concatenate",
    "entropy",
    "initial_probabilities",
    "mean_entropy",
    "membership",
    "point_affinity",
    "rdm",
    "remask",
]
