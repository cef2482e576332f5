"""Latent diffusion models such as Stable Diffusion, loaded from a folder in diffusers' format.

Only what training and sampling need is loaded: UNet, text encoder, tokenizer, autoencoder, and the
scheduler's noise schedule. Nothing is downloaded, and weights are read from safetensors alone.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BrokenPlugin, MissingData
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.models.text_to_image_unet import CrossAttentionOutput
from robustbench_kd.ops.generation.diffusion import NoiseSchedule
from robustbench_kd.ops.generation.prompts import SpecialTokens, tokenize

try:
    with warnings.catch_warnings():
        # requests, which diffusers imports, warns where torchattacks pins it to a release of 2020;
        # it is not used here.
        warnings.filterwarnings("ignore", "urllib3 ")
        import diffusers as _diffusers
    import transformers as _transformers
except ImportError as why:
    raise BrokenPlugin(
        "diffusers and transformers are not installed; run: pip install 'robustbench-kd[diffusers]'"
    ) from why

diffusers: Any = _diffusers  # neither is typed well enough to be checked
transformers: Any = _transformers
PARTS = ("unet", "text_encoder", "tokenizer", "vae", "scheduler")
KINDS = {"squaredcos_cap_v2": "cosine", "scaled_linear": "scaled-linear", "linear": "linear"}


@dataclass(frozen=True)
class ClipTokenizer:
    """CLIP's subword tokenizer as a ``PromptTokenizer``; every word is known."""

    inner: Any
    limit: int
    unknown: int = -1

    @property
    def special_tokens(self) -> SpecialTokens:
        """CLIP pads with a token of its own or, in Stable Diffusion, with the end token."""
        clip = self.inner
        return SpecialTokens(clip.bos_token_id, clip.eos_token_id, clip.pad_token_id)

    def ids(self, text: str) -> list[int]:
        """The tokens of the text, without start and end."""
        ids: list[int] = self.inner(text, add_special_tokens=False)["input_ids"]
        return ids

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Prompts as rows of tokens.

        Raises:
            BadSetting: for a prompt over the limit.
        """
        return tokenize(self, texts)

    def texts(self, tokens: Tensor) -> list[str]:
        """The words of each row."""
        texts: list[str] = self.inner.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]


class Pipeline(nn.Module):
    """UNet, text encoder and autoencoder as one text-to-image network; only the UNet is trained."""

    bound: float | None = None  # the latents of an autoencoder are unbounded

    def __init__(
        self, unet: Any, text: Any, vae: Any, tokenizer: ClipTokenizer, schedule: NoiseSchedule
    ) -> None:
        super().__init__()
        self.unet, self.text, self.vae = unet, text, vae
        self.tokenizer, self.schedule = tokenizer, schedule
        self.text.requires_grad_(False)
        self.vae.requires_grad_(False)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        side = self.unet.config.sample_size
        return self.unet.config.in_channels, side, side

    @property
    def cross_attention_projections(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """The key and value maps of each cross-attention layer, by the names of the layers."""
        layers = (m for name, m in self.unet.named_modules() if name.endswith("attn2"))
        return [(layer.to_k, layer.to_v) for layer in layers]

    def encode(self, tokens: Tensor) -> Tensor:
        """The state of each token of each prompt: (prompts, tokens, width)."""
        states: Tensor = self.text(input_ids=tokens)[0]
        return states

    def forward(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """The predicted noise in the latents ``x`` at the steps ``t``."""
        noise: Tensor = self.unet(x, t, states, return_dict=False)[0]
        return noise

    def attend(
        self, x: Tensor, t: Tensor, states: Tensor
    ) -> tuple[Tensor, tuple[CrossAttentionOutput, ...]]:
        """The predicted noise, and what each cross-attention layer did, in the order of layers.

        The processors that read the layers belong to this one call; the previous ones are restored
        when it returns, and when it fails.

        Raises:
            BadModel: with gradient checkpointing, which would run each layer a second time.
        """
        if self.unet.is_gradient_checkpointing:
            raise BadModel(
                "attention maps cannot be read under gradient checkpointing, which runs the layers "
                "again; call unet.disable_gradient_checkpointing() first"
            )
        previous, recorder = self.unet.attn_processors, _AttentionRecorder(x.shape[2:])
        self.unet.set_attn_processor(
            {
                name: recorder if name.endswith("attn2.processor") else processor
                for name, processor in previous.items()
            }
        )
        try:
            noise = self(x, t, states)
        finally:
            self.unet.set_attn_processor(previous)
        return noise, tuple(recorder.outputs)

    def to_latents(self, images: Images) -> Tensor:
        """Images in [0, 1] -> latents, the mean of what the autoencoder would draw from."""
        channels = self.vae.config.in_channels
        colour = images.expand(-1, channels, -1, -1) if images.shape[1] == 1 else images
        mean: Tensor = self.vae.encode(2 * colour - 1).latent_dist.mode()
        return mean * float(self.vae.config.scaling_factor)

    def to_images(self, latents: Tensor) -> Images:
        """Latents -> images, clipped to [0, 1]."""
        image: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return (image / 2 + 0.5).clamp(0, 1)


class _AttentionRecorder:
    """The attention of diffusers, computed explicitly so that maps and outputs can be recorded."""

    def __init__(self, latent_size: Sequence[int]) -> None:
        self.outputs: list[CrossAttentionOutput] = []
        self.latent_size = latent_size

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        states = encoder_hidden_states if encoder_hidden_states is not None else hidden_states
        if attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        q, k, v = (
            attn.head_to_batch_dim(part)
            for part in (attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states))
        )
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, states.shape[1], len(states))
        maps: Tensor = attn.get_attention_scores(q, k, mask)
        output: Tensor = attn.batch_to_head_dim(maps @ v)
        size = _layer_size(self.latent_size, output.shape[1])
        by_head = maps.unflatten(0, (-1, attn.heads)).unflatten(2, size)
        self.outputs.append(
            CrossAttentionOutput(by_head, output.transpose(1, 2).unflatten(2, size))
        )
        projected: Tensor = attn.to_out[1](attn.to_out[0](output))
        if attn.residual_connection:
            projected = projected + hidden_states
        return projected / float(attn.rescale_output_factor)


def _layer_size(latent: Sequence[int], positions: int) -> tuple[int, int]:
    """Height and width of a layer with so many positions: the latent's, halved some times."""
    height, width = latent
    while height * width > positions:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def from_folder(path: str | Path) -> Pipeline:
    """The pipeline that ``save_pretrained`` of diffusers wrote into this folder.

    Raises:
        MissingData: where a part is not there, or cannot be read.
        BadModel: where the UNet has no cross-attention, or predicts something other than the noise.
    """
    folder = Path(path)
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise MissingData(
            f"{folder} holds no pipeline of diffusers: {', '.join(missing)} missing; name a folder "
            "with unet, text_encoder, tokenizer, vae and scheduler, as save_pretrained writes it"
        )
    transformers.logging.disable_progress_bar()
    local = {"local_files_only": True}
    weights = {**local, "use_safetensors": True}
    plain = {**weights, "low_cpu_mem_usage": False}  # True needs accelerate, or warns
    try:
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **plain)
        text = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", **weights)
        vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", **plain)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", **local)
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    except (OSError, ValueError) as why:
        raise MissingData(f"the pipeline in {folder} cannot be read: {why}") from why
    schedule = _schedule(config)
    limit = min(tokenizer.model_max_length, text.config.max_position_embeddings)
    pipeline = Pipeline(unet, text, vae, ClipTokenizer(tokenizer, limit), schedule)
    if not pipeline.cross_attention_projections:
        raise BadModel(
            f"the UNet in {folder} has no cross-attention, so no word can reach its images; "
            "name a text-to-image pipeline, such as Stable Diffusion"
        )
    return pipeline.eval()


def _schedule(config: dict[str, Any]) -> NoiseSchedule:
    target, kind = config.get("prediction_type", "epsilon"), config.get("beta_schedule")
    if target != "epsilon" or kind not in KINDS:
        raise BadModel(
            f"the pipeline predicts {target!r} on a schedule {kind!r}; a text-to-image network "
            f"here predicts the noise (epsilon), on one of {', '.join(KINDS)}"
        )
    steps, first, last = (config[k] for k in ("num_train_timesteps", "beta_start", "beta_end"))
    return NoiseSchedule(steps, KINDS[str(kind)], first, last)
