"""Ray clusters on this machine, with the processes that a sweep needs and no others."""

LEAN = {"include_dashboard": False, "include_log_monitor": False}
"""What a node of a test does without: nobody looks at its dashboard, and nobody reads its workers' logs."""


def start_cluster(**head):
    """Start a cluster of one node with these arguments of Ray's node, without the monitor of the autoscaler."""
    from ray.cluster_utils import Cluster

    return Cluster(initialize_head=True, head_node_args=LEAN | {"no_monitor": True} | head)
