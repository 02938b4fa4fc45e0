"""The tree from the folders one already has: a walk finds checkpoints, each is read once, what its
files say and which tensors it shares make links, and only when told is it all registered."""

from lineage.scan.scanning import Scan as Scan
from lineage.scan.scanning import Seen as Seen
from lineage.scan.scanning import scan as scan
