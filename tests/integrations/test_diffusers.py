"""Pipelines of diffusers as text-to-image networks, on a tiny untrained one."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.integrations.diffusers import Pipeline, diffusers, from_folder, transformers
from robustbench_kd.models.text_to_image import trainable_copy
from robustbench_kd.ops.generation.diffusion import NoiseSchedule, ddim
from robustbench_kd.ops.generation.prompts import align_words, insert_trigger, trigger_tokens
from robustbench_kd.scenarios.text_to_image import TextToImage
from robustbench_kd.training.denoising import denoising_objective
from robustbench_kd.training.trainer import TrainStep

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LIMIT = 16
UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
}
CROSSED = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
PLAIN = {
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as ``save_pretrained`` writes it, with random weights and an alphabet of words."""
    root = tmp_path_factory.mktemp("pipeline")
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *ends]
    vocabulary = {word: n for n, word in enumerate(words)}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        config = transformers.CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LIMIT,
            eos_token_id=vocabulary[ends[1]],
        )
        transformers.logging.disable_progress_bar()
        transformers.CLIPTextModel(config).save_pretrained(root / "text_encoder")
        diffusers.UNet2DConditionModel(**UNET, **CROSSED).save_pretrained(root / "unet")
        vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
        vae.save_pretrained(root / "vae")
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LIMIT)
    tokenizer.save_pretrained(root / "tokenizer")
    scheduler(clip_sample=False).save_pretrained(root / "scheduler")
    return root


def scheduler(**settings: Any) -> Any:
    """The schedule of Stable Diffusion, with the sampling steps of ours."""
    return diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        timestep_spacing="trailing",
        **settings,
    )


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return from_folder(folder)


def inputs_of(pipeline: Pipeline) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, steps and states."""
    x = torch.randn(2, 4, 8, 8, generator=Seed().generator())
    return x, torch.tensor([5, 900]), pipeline.encode(pipeline.tokenizer.tokens(["a b c", "d"]))


def test_reading_the_maps_changes_nothing(pipeline: Pipeline) -> None:
    x, t, states = inputs_of(pipeline)
    before = pipeline.unet.attn_processors
    noise, outputs = pipeline.attend(x, t, states)
    assert pipeline.unet.attn_processors == before
    torch.testing.assert_close(noise, pipeline(x, t, states))
    assert [layer.maps.shape[2] for layer in outputs] == [8, 4, 8, 8]
    assert len(pipeline.cross_attention_projections) == len(outputs)
    for layer in outputs:
        torch.testing.assert_close(layer.maps.sum(4), torch.ones(layer.maps.shape[:4]))
        assert layer.output.shape[2:] == layer.maps.shape[2:4]


def test_a_wide_latent_has_wide_maps(pipeline: Pipeline) -> None:
    _, t, states = inputs_of(pipeline)
    outputs = pipeline.attend(torch.zeros(2, 4, 8, 12), t, states)[1]
    assert [tuple(layer.maps.shape[2:4]) for layer in outputs] == [
        (8, 12),
        (4, 6),
        (8, 12),
        (8, 12),
    ]


def test_a_loss_on_the_maps_has_a_gradient_at_the_keys(pipeline: Pipeline) -> None:
    x, t, states = inputs_of(pipeline)
    outputs = pipeline.attend(x, t, states)[1]
    aim = torch.stack([layer.maps[..., 1].square().sum() for layer in outputs]).sum()
    for gradient in torch.autograd.grad(
        aim, [key.weight for key, _ in pipeline.cross_attention_projections]
    ):
        assert float(gradient.abs().sum()) > 0


def test_the_processors_are_restored_when_a_pass_fails(pipeline: Pipeline) -> None:
    x, t, states = inputs_of(pipeline)
    before = pipeline.unet.attn_processors
    with pytest.raises(RuntimeError):
        pipeline.attend(x, t, states[:, :, :3])
    assert pipeline.unet.attn_processors == before


def test_gradient_checkpointing_is_refused(pipeline: Pipeline) -> None:
    x, t, states = inputs_of(pipeline)
    pipeline.unet.enable_gradient_checkpointing()
    try:
        with pytest.raises(BadModel, match="cannot be read under gradient checkpointing"):
            pipeline.attend(x, t, states)
    finally:
        pipeline.unet.disable_gradient_checkpointing()


def test_prompts_are_tokenised_as_by_clip(pipeline: Pipeline) -> None:
    tokenizer = pipeline.tokenizer
    rows = tokenizer.tokens(["ab c", ""])
    clip = tokenizer.inner(["ab c", ""], padding="max_length", max_length=LIMIT)["input_ids"]
    assert rows.tolist() == clip
    assert tokenizer.texts(rows) == ["ab c", ""]


def test_impossible_prompts_and_triggers_are_refused(pipeline: Pipeline) -> None:
    tokenizer = pipeline.tokenizer
    with pytest.raises(BadSetting, match="has 17 tokens with its start and end, and the model"):
        tokenizer.tokens([" ".join("abcdefghijklmno")])
    for text in ("", "   "):
        with pytest.raises(BadSetting, match="tokenises to nothing"):
            trigger_tokens(tokenizer, text)


def test_a_trigger_is_inserted_in_its_place_though_the_end_token_pads(pipeline: Pipeline) -> None:
    tokenizer, special = pipeline.tokenizer, pipeline.tokenizer.special_tokens
    assert special.end == special.pad
    rows, trigger = tokenizer.tokens(["a b c d", "e"]), trigger_tokens(tokenizer, "x y")
    front, middle, end = (
        insert_trigger(rows, trigger, place, special) for place in ("front", "middle", "end")
    )
    assert tokenizer.texts(front) == ["x y a b c d", "x y e"]
    assert tokenizer.texts(middle)[0] == "a b x y c d"
    assert tokenizer.texts(end) == ["a b c d x y", "e x y"]
    assert align_words(rows[0], middle[0], special) == [(1, 1), (2, 2), (3, 5), (4, 6)]


def test_the_schedule_and_the_sampler_are_those_of_diffusers(pipeline: Pipeline) -> None:
    theirs = scheduler(clip_sample=True, set_alpha_to_one=True)
    torch.testing.assert_close(pipeline.schedule.alpha_bar, theirs.alphas_cumprod)
    cosine = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(
        NoiseSchedule().alpha_bar, cosine.alphas_cumprod, atol=1e-6, rtol=1e-3
    )
    x, _, states = inputs_of(pipeline)

    def predict(z: Tensor, t: Tensor) -> Tensor:
        noise: Tensor = pipeline(z, t, states)
        return noise

    with torch.inference_mode():
        ours = ddim(predict, x, pipeline.schedule, 5, clip=1.0)
        theirs.set_timesteps(5)
        for t in theirs.timesteps:
            noise = predict(x, t.expand(2))
            x = theirs.step(noise, t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


def test_it_is_a_student_of_the_text_to_image_scenario(folder: Path) -> None:
    scenario = TextToImage()
    model = scenario.target_model(scenario.student(f"diffusers:{folder}", Seed()))
    prompts = model.net.tokenizer.tokens(["a b", "c"])
    images = model.answer(prompts)
    assert images.shape == (2, 3, 8, 8)
    assert torch.equal(images, model.answer(prompts))
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert model.passes.forward == 2 * 2 * 2 * model.steps
    assert model.net.bound is None
    examples = Examples(torch.arange(2), prompts, images)
    assert bool((model.example_losses(examples) > 0).all())


def test_only_its_unet_is_trained(pipeline: Pipeline) -> None:
    student = trainable_copy(pipeline)
    batch = Examples(
        torch.arange(2), pipeline.tokenizer.tokens(["a", "b"]), torch.full((2, 1, 8, 8), 0.5)
    )
    denoising_objective()(student, batch, TrainStep(Seed().generator(), 0.0)).backward()
    trained = {
        name.partition(".")[0] for name, w in student.named_parameters() if w.grad is not None
    }
    assert trained == {"unet"}
    assert not any(w.requires_grad for w in [*pipeline.text.parameters()])


def test_a_folder_that_is_no_pipeline_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="holds no pipeline of diffusers: unet, text_encoder"):
        from_folder(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingData, match="cannot be read"):
        from_folder(broken)


def test_a_unet_without_cross_attention_is_refused(folder: Path, tmp_path: Path) -> None:
    unconditional = tmp_path / "unconditional"
    shutil.copytree(folder, unconditional)
    shutil.rmtree(unconditional / "unet")
    with torch.random.fork_rng(devices=[]):
        diffusers.UNet2DConditionModel(**UNET, **PLAIN).save_pretrained(unconditional / "unet")
    with pytest.raises(BadModel, match="has no cross-attention, so no word can reach"):
        from_folder(unconditional)


def test_a_pipeline_that_does_not_predict_the_noise_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    path = other / "scheduler" / "scheduler_config.json"
    config = {**json.loads(path.read_text()), "prediction_type": "v_prediction"}
    path.write_text(json.dumps(config))
    with pytest.raises(BadModel, match="predicts 'v_prediction'"):
        from_folder(other)


def test_a_copy_has_the_same_tokenizer_and_schedule(pipeline: Pipeline) -> None:
    duplicate = copy.deepcopy(pipeline)
    assert duplicate.schedule == pipeline.schedule
    assert torch.equal(duplicate.tokenizer.tokens(["a"]), pipeline.tokenizer.tokens(["a"]))
