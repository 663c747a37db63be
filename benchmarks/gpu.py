"""Tokens a second, memory and model FLOPs utilisation of training: LoRA and full finetune.

Run: python -m benchmarks.gpu [--preset petar-4b] [--batch 1] [--length 768] [--steps 8] [--json FILE]. Weights are
random and inputs made up, as large as real ones: neither changes how long a step takes. What does not fit is told as
that, with the presets that would. Without a GPU it runs `--preset tiny` on the CPU, and gives no utilisation there.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from model.inputs.tensors import LABEL_IGNORED, Batch
from model.petar.architecture import Petar, language_model
from model.petar.config import ModelConfig, TrainingSettings, preset, training_settings
from model.petar.lora import add_lora
from model.training.flops import peak_flops, training_flops
from model.training.memory import memory_plan, presets_that_fit
from model.training.optimiser import make_optimiser
from model.training.parallel import pick_device
from model.training.stages import freeze_for
from model.training.start import prepare_for_training

ANSWER_TOKENS = 64
LORA_RANK = 16
_WARM_STEPS = 2


@dataclass(frozen=True)
class Measured:
    """What a way of training takes on a device."""

    way: str
    preset: str
    device: str
    batch: int
    length: int
    ran: bool
    seconds_a_step: float | None = None
    tokens_per_s: float | None = None
    samples_per_s: float | None = None
    memory_gb: float | None = None
    """Largest that was allocated; None on a CPU."""
    planned_gb: float = 0.0
    tflops_per_s: float | None = None
    mfu: float | None = None
    """Share of the device's dense bfloat16 peak; None where that is not known."""
    note: str = ""

    def line(self) -> str:
        """One line for the terminal."""
        head = f"{self.way:<6}{self.preset:<10}batch {self.batch} x {self.length} tokens on {self.device}: "
        if not self.ran:
            return head + self.note
        memory = "" if self.memory_gb is None else f", {self.memory_gb:.1f} GB (planned {self.planned_gb:.1f})"
        mfu = "" if self.mfu is None else f", {self.mfu:.1%} of the peak"
        return (
            f"{head}{self.seconds_a_step:.3f} s a step, {self.tokens_per_s:,.0f} tokens/s{memory}, "
            f"{self.tflops_per_s:.2f} TFLOP/s{mfu}"
        )


def made_up_batch(config: ModelConfig, image_token: int, size: int, length: int, device: torch.device) -> Batch:
    """Rows of `length` tokens whose last ones are answers, with images of noise."""
    generator = torch.Generator().manual_seed(0)
    visual, answer = config.n_visual_tokens, min(ANSWER_TOKENS, length // 4)
    if length < visual + answer + 1:
        raise ValueError(f"expected at least {visual + answer + 1} tokens for {visual} image tokens, got {length}")
    ids = torch.randint(image_token + 1, config.language.vocab_size, (size, length), generator=generator)
    ids[:, 1 : 1 + visual] = image_token
    labels = torch.full_like(ids, LABEL_IGNORED)
    labels[:, -answer:] = ids[:, -answer:]
    shape = (size, 3, *config.vision.image_shape)
    images, focal = (torch.rand(shape, generator=generator) for _ in range(2))
    batch = Batch(list(range(size)), ids, torch.ones_like(ids), labels, images, focal if config.use_focal else None)
    return batch.to(device)


def measure(
    way: str, config: ModelConfig, settings: TrainingSettings, device: torch.device, length: int, steps: int
) -> Measured:
    """A way of training, `lora` or `full`, by the clock; one that does not fit the device is told as such."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    lora = way == "lora"
    settings = replace(settings, lora_rank=LORA_RANK if lora else 0)
    blank = Measured(way, config.name, name, settings.batch_size, length, False)
    blank = replace(blank, planned_gb=memory_plan(config, settings, length=length).total_gb)
    try:
        seconds, memory_gb = time_steps(config, settings, device, length, steps)
    except torch.cuda.OutOfMemoryError:
        memory_gb = torch.cuda.get_device_properties(device).total_memory / 1e9
        fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
        return replace(
            blank, note=f"out of memory ({memory_gb:.0f} GB, planned {blank.planned_gb:.0f}); fits: {fitting}"
        )
    flops = settings.batch_size * training_flops(config, length, min(ANSWER_TOKENS, length // 4), lora=lora)
    peak = peak_flops(name)
    return replace(
        blank,
        ran=True,
        seconds_a_step=seconds,
        tokens_per_s=settings.batch_size * length / seconds,
        samples_per_s=settings.batch_size / seconds,
        memory_gb=memory_gb,
        tflops_per_s=flops / seconds / 1e12,
        mfu=None if peak is None else flops / seconds / peak,
    )


def time_steps(
    config: ModelConfig, settings: TrainingSettings, device: torch.device, length: int, steps: int
) -> tuple[float, float | None]:
    image_token = 5
    # Built where it will live: 4 B random weights on the CPU first would take minutes.
    with torch.device(device):
        model = Petar(config, language_model(config.language, config.language.vocab_size), image_token)
        if settings.lora_rank:
            add_lora(model, settings.lora_rank, settings.lora_alpha)
    freeze_for(model, "findings_full")
    prepare_for_training(model, settings)
    model.train()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = make_optimiser(parameters, settings)
    batch = made_up_batch(config, image_token, settings.batch_size, length, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    for step in range(_WARM_STEPS + steps):
        if step == _WARM_STEPS:
            _wait(device)
            began = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss = model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)
        (loss / batch.n_answer_tokens).backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), settings.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    _wait(device)
    seconds = (time.perf_counter() - began) / steps
    return seconds, torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(
    preset_name: Annotated[str, typer.Option("--preset")] = "petar-4b" if torch.cuda.is_available() else "tiny",
    ways: str = "lora,full",
    batch: Annotated[int, typer.Option(help="0: the preset's")] = 0,
    length: Annotated[int, typer.Option(help="tokens a sample; 0: the preset's longest")] = 0,
    steps: int = 8,
    optimiser: Literal["adamw", "adamw8bit"] = "adamw",
    weights: Annotated[Literal["float32", "bfloat16"], typer.Option(help="dtype of trained weights")] = "float32",
    device_name: Annotated[str, typer.Option("--device")] = "auto",
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Prints a line a way of training."""
    config = preset(preset_name)
    settings = training_settings(preset_name, "findings_full", optimiser=optimiser, weights_dtype=weights)
    settings = replace(settings, batch_size=batch or settings.batch_size)
    device = pick_device(device_name)
    found = []
    for way in ways.split(","):
        one = measure(way, config, settings, device, length or config.max_length, steps)
        print(one.line(), flush=True)
        found.append(asdict(one))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if json_path:
        json_path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
