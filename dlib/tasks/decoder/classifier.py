"""The classifier that a decoder builds on: finding it, and the store of its CAMs that seeds are drawn from.

Missing CAMs are computed in one batched pass, and kept.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import torch

from dlib.cams import MapFolder
from dlib.cams.store import CamStore
from dlib.configure.config import Config, as_it_lies, model_folder, model_tag
from dlib.configure.constants import TASKS
from dlib.configure.table import spelled
from dlib.datasets.images import open_image
from dlib.datasets.loaders import frame_loader
from dlib.datasets.video_dataset import VideoDataset
from dlib.models import CamClassifier, MapMaker
from dlib.utils import distributed
from dlib.utils.errors import UserError
from dlib.utils.files import read_json, write_json
from dlib.utils.logging import logger, progress
from dlib.utils.signals import StopRequest

_ORIGIN = "origin.json"


def classifier_folder(cfg: Config) -> Path:
    """Folder of the weights that encoder and head start from."""
    return _existing(cfg, getattr(cfg, TASKS[cfg.task].classifier_flag))


def seeder_folder(cfg: Config) -> Path:
    """Folder of the weights of the classifier whose CAMs give the seeds."""
    return _existing(cfg, _seeder_criterion(cfg))


def cam_store_folder(cfg: Config) -> Path:
    """Folder of that classifier's CAMs of all train frames."""
    return as_it_lies(cfg, _cam_store_folder)


def _cam_store_folder(cfg: Config) -> Path:
    method = f"{cfg.seed_cam_method}_" if cfg.seed_cam_method not in ("", cfg.method) else ""
    return Path(cfg.cams_root) / f"{model_tag(cfg, _seeder_criterion(cfg))}_{method}cams_train"


def _seeder_criterion(cfg: Config) -> str:
    return str(getattr(cfg, TASKS[cfg.task].seeder_flag))


def _existing(cfg: Config, criterion: str) -> Path:
    folder = model_folder(Path(cfg.pretrained_root), cfg, criterion)
    if folder.is_dir():
        return folder
    other = Path(cfg.pretrained_root) / model_tag(cfg, _seeder_criterion(cfg))
    wanted = " and ".join(dict.fromkeys((str(folder), str(other))))
    raise UserError(
        f"{cfg.task} starts from a trained classifier, but {folder} does not exist (it needs {wanted}): "
        "train one with --task STD_CL and the same --dataset, --encoder_name, --method, --spatial_pooling and "
        "--box_v2_metric, then run 'bash cmds/promote.sh EXPERIMENT_FOLDER', or copy the folders there yourself"
    )


def fill_cam_store(cfg: Config, seeder: MapMaker, dataset: VideoDataset, stop: StopRequest) -> CamStore:
    """The store of the classifier's CAMs of all train frames; computes the missing ones.

    A store that this program made with other weights is computed again. A store that does not say which weights made
    it, such as one of the authors' program, is used as it is. From then on the main process holds the store until
    it ends.

    Raises UserError when a store of other weights is in use by another run.
    """
    folder = cam_store_folder(cfg)
    store = CamStore(folder)
    if distributed.is_main():
        _claim(folder, store, _fingerprint(seeder.model, cfg), stop)
    distributed.barrier()
    ids = dataset.all_ids()
    missing = store.missing(ids)
    distributed.barrier()
    if not missing:
        logger.info(f"CAMs of the train frames: {folder} is complete")
        return store
    logger.info(f"CAMs of the train frames: computing {len(missing)} into {folder}")
    size = cfg.eval_batch_size or cfg.batch_size
    loader = frame_loader(
        dataset,
        _own_share(ids, set(missing), size),
        size,
        num_workers=cfg.num_workers,
        pin_memory=seeder.device.type == "cuda",
    )
    loader.while_waiting = stop.while_waiting
    seeder.model.eval()
    for batch in stop.watch(progress(loader, "CAM store", total=len(loader))):
        batch = batch.to(seeder.device)
        cams, _ = seeder.low_resolution(batch.images, batch.labels)  # [B, h, w]
        for frame_id, cam in zip(batch.ids, cams.cpu(), strict=True):
            try:
                store.write(frame_id, cam)
            except ValueError as error:
                raise UserError(f"{error}: the weights in {seeder_folder(cfg)} give no CAM") from error
    stop.check()
    return store


def open_seed_maps(cfg: Config, dataset: VideoDataset, stop: StopRequest) -> MapFolder:
    """Another program's maps (``--seed_maps``) of all train frames; the processes read each of them once.

    Raises UserError for a missing or wrong map.
    """
    maps = MapFolder(Path(cfg.seed_maps or ""), side=cfg.resize_size)
    ids = dataset.all_ids()
    maps.check_complete(ids)
    share = ids[distributed.rank() :: distributed.world_size()]
    for frame_id in stop.watch(progress(share, "maps for the seeds", total=len(share))):
        size = None
        with suppress(UserError), open_image(dataset.data_dir / frame_id, "replace it") as image:
            size = image.size  # of a frame that can be read; training names the others
        maps.read(frame_id, size)
    stop.check()
    distributed.barrier()
    logger.info(f"maps for the seeds: {len(ids)} train frames have one in {maps.folder}")
    return maps


def _own_share(ids: list[str], missing: set[str], size: int) -> list[str]:
    """This process's frames: all frames are divided into batches, and those with a missing frame are computed.

    So a frame is always computed in the same batch, also if the others were stored before a run was killed: the last
    bits of a CAM can depend on the other frames of its batch.
    """
    batches = [ids[at : at + size] for at in range(0, len(ids), size)]
    wanted = [batch for batch in batches if not missing.isdisjoint(batch)]
    return [
        frame_id for batch in wanted[distributed.rank() :: distributed.world_size()] for frame_id in batch
    ]


def _claim(folder: Path, store: CamStore, fingerprint: dict[str, str], stop: StopRequest) -> None:
    alone = store.hold_alone()
    if not alone:  # a process that has it alone is at this point too, and will soon share it
        store.hold(stop.while_waiting)
    origin = folder / _ORIGIN
    known = origin.exists()
    if known and spelled(read_json(origin)) != fingerprint:
        if not alone:
            store.release()
            raise UserError(
                f"{folder} was made by another classifier or at another size, and another run is using it: "
                "wait for that run, or give this one another --cams_root"
            )
        logger.warning(
            f"{folder} was made by another classifier or at another size; its CAMs are computed again"
        )
        store.clear()
        write_json(origin, fingerprint)
    elif not known and any(folder.glob("*.pt")):
        logger.info(f"{folder} does not say which classifier made it; it is used as it is")
    elif not known:
        write_json(origin, fingerprint)
    store.hold(stop.while_waiting)


def _fingerprint(model: CamClassifier, cfg: Config) -> dict[str, str]:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    found = {
        "weights_sha256": digest.hexdigest(),
        "method": cfg.seed_cam_method or cfg.method,
        "crop_size": str(cfg.crop_size),
    }
    if cfg.amp_eval and next(model.parameters()).is_cuda:
        found["precision"] = "mixed"
    return found
