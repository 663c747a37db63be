"""Hard exams of the phantom: textured organs and tumours, soft edges, necrosis, chains of nodes, hundreds of peaks."""

from pipelines.phantom.hard.settings import HardSettings, Workstation

__all__ = ["HardSettings", "Workstation"]
