"""A store: descriptors of any number of images in a folder of Parquet files that can grow.

`store.json` names the model and each part with its size and sha256. A part is complete before
`store.json` names it, so a killed process leaves a valid store that lacks one part at most. Several
processes may add to one store.
"""

from dolg_zoo.errors import StoreError
from dolg_zoo.retrieval.extraction.store.descriptor_store import DescriptorStore
from dolg_zoo.retrieval.extraction.store.manifest import Settings
from dolg_zoo.retrieval.extraction.store.part_file import fault_in_id

__all__ = ["DescriptorStore", "Settings", "StoreError", "fault_in_id"]
