"""Flags of a run: data, sampling, training loop, files, machines."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.constants import STD_CL, TASKS, YTOV1
from dlib.configure.flag import flag
from dlib.configure.literals import SampleDist, SampleStyle


@dataclass(frozen=True)
class RunFlags:
    """Run."""

    task: str = flag(
        STD_CL,
        "what to train: the frame classifier (STD_CL), or a decoder on a trained classifier: CoLo-CAM, TCAM, "
        "F_CL (F-CAM)",
        choices=tuple(TASKS),
    )
    config: str | None = flag(None, "YAML file with flags; flags on the command line win")
    MYSEED: str = flag("0", "seed of every random choice, an integer >= 0")
    exp_id: str = flag("123456789", "name of the run, part of its folder's name; a new name starts a new run")
    debug_subfolder: str = flag(
        "", "folder between exps/ and the dataset's name; empty or None: none", aliases=(("none", ""),)
    )
    exps_root: str = flag("exps", "folder of all experiments")
    pretrained_root: str = flag(
        "pretrained", "folder of ImageNet weights (imagenet/) and promoted best models (<tag>/)"
    )
    cams_root: str = flag("data_cams", "folder of the stored CAMs for the seeds")
    dry_run: bool = flag(
        False, "print the plan (data, parameters, steps, memory, time) and stop; write nothing"
    )
    deterministic: bool = flag(
        False, "deterministic algorithms on CUDA too: slower; a resumed run then gives the same bits"
    )


@dataclass(frozen=True)
class DataFlags:
    """Data."""

    dataset: str = flag(
        YTOV1, "YouTube-Objects-v1.0, YouTube-Objects-v2.2 or the name of your own dataset's folder"
    )
    data_root: str | None = flag(
        None, "folder that holds the dataset's folder; None: $DATASETSH, else ./datasets"
    )
    metadata_root: str = flag(
        "./folds/wsol-done-right-splits",
        "folder of the folds: <metadata_root>/<dataset>, or itself if it holds train/",
    )
    num_classes: int = flag(
        10, "number of classes; leave it out: the folds say it, and another number is an error", ge=1
    )
    crop_size: int = flag(224, "side in pixels of the square that the networks see", ge=8, le=4096)
    eval_size: int = flag(
        0,
        "side of that square in validation, test and dlib.localize; larger than the crop: finer maps, longer "
        "evaluation; 0: crop_size",
        ge=0,
        le=4096,
    )
    resize_size: int = flag(
        256, "side in pixels to which train frames are resized before the crop", ge=8, le=4096
    )
    num_val_sample_per_class: int = flag(
        0, "validation frames used per class; 0: all; fewer make validation faster", ge=0
    )
    num_workers: int = flag(
        4,
        "processes that load data, per training process; 0: none; raise it if training waits for data",
        ge=0,
        le=1024,
    )
    skip_bad_frames: bool = flag(
        False, "use another frame of the shot instead of an unreadable train frame; False: stop"
    )
    aug_color: float = flag(
        0.0, "random change of brightness, contrast, saturation of train frames: strength; 0: off", ge=0, le=1
    )
    aug_scale_min: float = flag(
        1.0,
        "a random crop covers at least this share of a train frame's area; 1: a crop of crop_size",
        gt=0,
        le=1,
    )


@dataclass(frozen=True)
class SamplingFlags:
    """Frames and minibatches."""

    batch_size: int = flag(32, "frames per step and process; lower it if memory is too small", ge=1)
    sample_fr_limit: float = flag(
        1.0, "share of each shot, around its middle, that frames are drawn from; 1: all of it", gt=0, le=1
    )
    sample_n_from_seq: int = flag(
        1,
        "frames drawn from each shot per epoch (all if the shot has fewer); the joint CRF needs 2 or more",
        ge=1,
    )
    sample_n_from_seq_style: SampleStyle = flag("random", "which frames of a shot are drawn together")
    sample_n_from_seq_dist: SampleDist = flag(
        "uniform", "how the first frame is drawn; with style random: how every frame is drawn"
    )
    sample_n_from_seq_std: float = flag(1.0, "gaussian: standard deviation, in frames", gt=0)
    min_tr_batch_sz: int = flag(
        -1, "smallest number of shots drawn together and cut into minibatches; -1: no minimum", ge=-1
    )
    drop_small_tr_batch: bool = flag(
        False, "leave a short minibatch out if shots drawn with it already gave an update"
    )
    fill_small_tr_batch: bool = flag(True, "fill a short minibatch by repeating its frames")


@dataclass(frozen=True)
class TrainingFlags:
    """Training loop."""

    max_epochs: int = flag(150, "epochs to train", ge=0)
    min_steps: int = flag(
        0,
        "steps that the run has at least: with few shots an epoch shows each shot several times; all lengths in "
        "epochs then follow",
        ge=0,
    )
    amp: bool = flag(
        False,
        "mixed precision in training: saves time and memory on a card; on a CPU bfloat16, where a measurement at the "
        "start says that it is faster",
    )
    amp_eval: bool = flag(
        False, "mixed precision in evaluation and in the CAM store, on a card; a CPU has float32 there"
    )
    amp_dtype: str = flag(
        "auto",
        "number format of mixed precision; auto: float16 on a card; on a CPU bfloat16 means without measurement, if "
        "the processor has it",
        choices=("auto", "float16", "bfloat16"),
    )
    channels_last: str = flag(
        "auto",
        "memory format of networks and images; auto: where it is faster",
        choices=("auto", "true", "false"),
    )
    compile: bool = flag(False, "compile the network with torch.compile")
    cuda_graphs: bool = flag(
        True, "replay what is the same in every step on a card as CUDA graphs; False saves some memory"
    )
    grad_clip: float = flag(0.0, "largest gradient norm, larger ones are scaled down; 0: no limit", ge=0)
    ema_decay: float = flag(
        0.0,
        "decay of a running average of the weights, which is evaluated and kept instead; 0: off",
        ge=0,
        le=0.999999,
    )
    best_start_ep: int = flag(
        0, "first epoch whose weights can become the best; 0: also the weights before training", ge=0
    )
    early_stop_patience: int = flag(
        0, "stop after this many epochs without better validation localization; 0: never", ge=0
    )


@dataclass(frozen=True)
class CheckpointFlags:
    """Checkpoints."""

    checkpoint_save: int = flag(
        5000, "steps between checkpoints; there is one more at the end of each epoch", ge=1
    )
    keep_last_n_checkpoints: int = flag(2, "how many checkpoints are kept: the newest ones", ge=1)


@dataclass(frozen=True)
class OutputFlags:
    """Output."""

    verbose: bool = flag(True, "log on screen too; False: only in the experiment's files")
    progress: str = flag("auto", "progress bars; auto: only on a terminal", choices=("auto", "true", "false"))
    log_every: int = flag(1, "steps between two step records in log.jsonl", ge=1)
    profile: int = flag(
        0,
        "training steps to record with PyTorch's profiler, after the first few; writes a trace; 0: none",
        ge=0,
    )
    plot_tr_cam_progress: bool = flag(False, "draw the CAMs of some train frames after every epoch")
    plot_tr_cam_progress_n: int = flag(0, "how many train frames plot_tr_cam_progress draws; 0: 10", ge=0)
    vizu_n: int = flag(10, "pictures drawn per class at the end; 0: none", ge=0)
    report: bool = flag(True, "write report.html, updated after every epoch")
    log_to: str = flag(
        "",
        "send the numbers of log.jsonl to a tracker too, whose package must be installed; csv: metrics.csv",
        choices=("", "wandb", "mlflow", "csv", "tensorboard"),
    )
    tensorboard: bool = flag(False, "the same as --log_to tensorboard, also beside another tracker")


@dataclass(frozen=True)
class DistributedFlags:
    """Devices and processes."""

    device: str = flag(
        "auto",
        "where to compute; auto: CUDA if a card can be used, else the CPU",
        choices=("auto", "cuda", "cpu"),
    )
    cudaid: str = flag(
        "0",
        "CUDA cards to use, separated by commas; process i of a machine uses the i-th. If CUDA_VISIBLE_DEVICES is "
        "set: numbers or names (GPU-…, MIG-…) from its list, or else positions in it, from 0; any number if "
        "it shows one card",
    )
    dist_backend: str = flag(
        "gloo", "how processes exchange data; nccl needs CUDA", choices=("gloo", "nccl", "mpi")
    )
    init_method: str = flag("", "address where processes meet; empty: torchrun's")
    local_rank: int = flag(0, "number of this process on its machine", ge=0, no_effect="torchrun says it")
    local_world_size: int = flag(1, "processes on each machine; must be torchrun's number", ge=1)
    world_size: int = flag(1, "processes in all", ge=1, no_effect="torchrun says it")
    sync_bn: bool = flag(False, "batch norm over the frames of all processes (CUDA only)")
