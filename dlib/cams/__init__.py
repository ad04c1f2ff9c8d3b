"""Class activation maps: extractors, regions of interest, seeds, and the store of maps on disk."""

from dlib.cams.base import CamExtractor
from dlib.cams.extractors import build_cam_extractor
from dlib.cams.folder import MapFolder
from dlib.cams.layer import LayerModel, swin_maps, vit_maps
from dlib.cams.maps import normalize_cams, seed_technique_at, temper_at, temper_cams, upsample_cams
from dlib.cams.refine import edge_maps, refine_cams
from dlib.cams.roi import Roi, region_of_interest
from dlib.cams.seeds import sample_seeds
from dlib.cams.store import CamStore
from dlib.cams.strict import strict_region, without_one_level
from dlib.cams.temporal import TemporalPool, pool_over_time, window

__all__ = [
    "CamExtractor",
    "CamStore",
    "LayerModel",
    "MapFolder",
    "Roi",
    "TemporalPool",
    "build_cam_extractor",
    "edge_maps",
    "normalize_cams",
    "pool_over_time",
    "refine_cams",
    "region_of_interest",
    "sample_seeds",
    "seed_technique_at",
    "strict_region",
    "swin_maps",
    "temper_at",
    "temper_cams",
    "upsample_cams",
    "vit_maps",
    "window",
    "without_one_level",
]
