"""The splits of a run, as the flags describe them."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import SPLITS, TRAIN, VAL
from dlib.datasets.loaders import TrainLoader, train_loader
from dlib.datasets.metadata import read_split
from dlib.datasets.video_dataset import VideoDataset
from dlib.utils import distributed
from dlib.utils.errors import UsageError


@dataclass
class Data:
    """Train shots, and the frames of validation and test."""

    train: VideoDataset
    val: VideoDataset
    test: VideoDataset

    @property
    def classes(self) -> list[str]:
        return self.train.metadata.class_names


def load_data(cfg: Config) -> Data:
    """The three splits. Raises UserError for missing or broken data or metadata."""
    data = Data(*(read_frames(cfg, split) for split in SPLITS))
    if "num_classes" in cfg.explicit and cfg.num_classes != len(data.classes):
        raise UsageError(
            f"--num_classes {cfg.num_classes}: the metadata of {cfg.dataset} has {len(data.classes)} classes; "
            "leave the flag out"
        )
    return data


def read_frames(cfg: Config, split: str) -> VideoDataset:
    """One split of the dataset that the flags name."""
    folder = dataset_dir(cfg)
    metadata = read_split(folder, metadata_dir(cfg), split)
    if split == VAL:
        metadata = metadata.keep_per_class(cfg.num_val_sample_per_class, cfg.seed)
    return VideoDataset(
        metadata,
        folder,
        train=split == TRAIN,
        crop_size=cfg.crop_size if split == TRAIN else cfg.eval_side,
        resize_size=cfg.resize_size,
        n_frames=cfg.sample_n_from_seq,
        style=cfg.sample_n_from_seq_style,
        dist=cfg.sample_n_from_seq_dist,
        std=cfg.sample_n_from_seq_std,
        frame_limit=cfg.sample_fr_limit,
        seed=cfg.seed,
        skip_bad_frames=cfg.skip_bad_frames,
        color=cfg.aug_color,
        scale_min=cfg.aug_scale_min,
    )


def build_train_loader(cfg: Config, train: VideoDataset, pin_memory: bool) -> TrainLoader:
    """The loader of training minibatches for this process."""
    return train_loader(
        train,
        batch_size=cfg.batch_size,
        min_tr_batch_sz=cfg.min_tr_batch_sz,
        num_workers=cfg.num_workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        drop_small=cfg.drop_small_tr_batch,
        fill_small=cfg.fill_small_tr_batch,
        pin_memory=pin_memory,
        min_steps=-(-cfg.min_steps // max(cfg.max_epochs, 1)),
    )
