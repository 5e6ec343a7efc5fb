"""bgproxy: the traffic switch that a team puts in front of its VMs or pods."""

__version__ = "0.1.0"
