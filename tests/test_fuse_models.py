"""What holds for every model of the registry, and what holds for each by its nature, against torch's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sequences import WIDTHS, small_options
from torch import Tensor, nn

from fuse.loss import affect_loss
from fuse.models.crossattn import CrossAttention
from fuse.models.lstm import Lstm, reversed_rows
from fuse.models.mlp import Mlp
from fuse.models.parts import Attention, AttentionLayer, Inputs, sinusoidal_positions
from fuse.models.registry import MODELS, build_model, resolve_options
from fuse.models.selfattn import SelfAttention
from fuse.settings import LossSettings

B, L = 3, 11
LENGTHS = [11, 7, 2]

# float64 throughout, so that another order of the same sums differs by some 1e-16 of numbers of size 1.
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


@pytest.fixture(params=[1, 2, 3], ids=["one modality", "two", "three"])
def widths(request: pytest.FixtureRequest) -> dict[str, int]:
    return dict(list(WIDTHS.items())[: request.param])


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(name: str, widths: Mapping[str, int], seed: int = 5, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    model = build_model(name, widths, small_options(name, **changes)).double()
    with torch.no_grad():  # what stands for a missing row begins at 0; here it must be seen to matter
        for parameter_name, parameter in model.named_parameters():
            if ".missing." in parameter_name:
                parameter.normal_()
    return model.eval()


def batch(
    widths: Mapping[str, int], lengths: list[int] | None = None, rows: int = L, seed: int = 9
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Features, marks and the marks of rows inside, in float64; each clip misses its second row everywhere."""
    lengths = lengths or LENGTHS
    random = torch.Generator().manual_seed(seed)
    inside = torch.arange(rows) < torch.tensor(lengths).unsqueeze(1)
    features = {n: torch.randn(len(lengths), rows, d, generator=random, dtype=torch.float64) for n, d in widths.items()}
    valid = {n: (torch.rand(len(lengths), rows, generator=random) > 0.3) & inside for n in widths}
    for marks in valid.values():
        marks[:, 1] = False
    return features, valid, inside


def test_the_output_is_valence_and_arousal_of_every_row(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    out = build(name, widths)(features, valid, inside)
    assert out.shape == (B, L, 2)
    assert out.isfinite().all()
    assert (
        build_model(name, widths, small_options(name))
        .eval()({n: x.float() for n, x in features.items()}, valid, inside)
        .dtype
        == torch.float32
    )


def test_padding_changes_no_row_inside(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model = build(name, widths)
    padded = model(features, valid, inside)
    for b, length in enumerate(LENGTHS):
        alone = model(
            {n: x[b : b + 1, :length] for n, x in features.items()},
            {n: v[b : b + 1, :length] for n, v in valid.items()},
            inside[b : b + 1, :length],
        )
        torch.testing.assert_close(padded[b, :length], alone[0], **TIGHT)


@pytest.mark.parametrize("poison", [float("nan"), 1e30, float("-inf")])
def test_what_a_row_that_is_not_valid_holds_changes_nothing(name: str, widths: dict[str, int], poison: float) -> None:
    features, valid, inside = batch(widths)
    poisoned = {n: x.masked_fill(~valid[n].unsqueeze(-1), poison) for n, x in features.items()}
    model = build(name, widths)
    assert torch.equal(model(features, valid, inside), model(poisoned, valid, inside))
    model.train()
    model(poisoned, valid, inside)[inside].square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), parameter_name


def test_that_a_row_is_missing_does_matter(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model = build(name, widths)
    before = model(features, valid, inside)
    for modality in widths:
        marks = valid[modality].clone()
        marks[0, 4] = ~marks[0, 4]
        after = model(features, valid | {modality: marks}, inside)
        assert not torch.allclose(before[0, 4], after[0, 4]), modality
        assert torch.equal(before[1:], after[1:])


def test_a_modality_that_is_wholly_missing_is_finite(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model = build(name, widths)
    for modality in widths:
        gone = {
            "features": features | {modality: torch.full_like(features[modality], torch.nan)},
            "valid": valid | {modality: torch.zeros_like(inside)},
        }
        assert model(**gone, inside=inside).isfinite().all()
    nothing = {n: torch.zeros_like(inside) for n in widths}
    assert model(features, nothing, inside).isfinite().all()
    assert model(features, nothing, torch.zeros_like(inside)).isfinite().all()


def test_a_modality_that_is_there_matters(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    valid = dict.fromkeys(widths, inside)
    model = build(name, widths)
    before = model(features, valid, inside)
    for modality in widths:
        after = model(features | {modality: features[modality] + 0.5}, valid, inside)
        assert ((before - after).abs().amax(-1)[inside] > 1e-6).all(), modality


def test_shuffling_a_batch_shuffles_the_output(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model, order = build(name, widths), torch.tensor([2, 0, 1])
    shuffled = model({n: x[order] for n, x in features.items()}, {n: v[order] for n, v in valid.items()}, inside[order])
    torch.testing.assert_close(shuffled, model(features, valid, inside)[order], **TIGHT)


def test_the_order_of_the_modalities_changes_nothing(name: str) -> None:
    outputs = []
    for names in (["video", "audio", "pose"], ["pose", "video", "audio"]):
        model = build(name, {n: WIDTHS[n] for n in names})
        features, valid, inside = batch(WIDTHS)
        outputs.append(model({n: features[n] for n in names}, {n: valid[n] for n in names}, inside))
    assert torch.equal(*outputs)


def test_every_parameter_gets_a_gradient(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model = build(name, widths).train()
    # A loss that is not symmetric in anything; a plain sum can have gradient 0 behind a LayerNorm.
    random = torch.Generator().manual_seed(1)
    wanted = torch.randn(B, L, 2, generator=random, dtype=torch.float64)
    (model(features, valid, inside) - wanted)[inside].square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        # A bias of the keys moves all scores of a query alike, which a softmax doesn't see.
        if not parameter_name.endswith("attention.key.bias"):
            assert parameter.grad.abs().max() > 1e-9, parameter_name


def test_dropout_acts_in_training_alone(name: str) -> None:
    features, valid, inside = batch(WIDTHS)
    model = build(name, WIDTHS, dropout=0.5)
    assert torch.equal(model(features, valid, inside), model(features, valid, inside))
    model.train()
    assert not torch.equal(model(features, valid, inside), model(features, valid, inside))


def test_the_same_seed_builds_the_same_model(name: str, widths: dict[str, int]) -> None:
    states = [build(name, widths, seed).state_dict() for seed in (5, 5, 13)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_a_state_loads_into_a_fresh_model(name: str, widths: dict[str, int]) -> None:
    features, valid, inside = batch(widths)
    model, other = build(name, widths, 5), build(name, widths, 13)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(features, valid, inside), other(features, valid, inside))


def test_it_can_overfit_four_clips(name: str) -> None:
    widths, random = {"video": 5, "audio": 3}, torch.Generator().manual_seed(3)
    torch.manual_seed(17)
    model = build_model(name, widths, small_options(name, width=32, feedforward=53)).train()
    inside = torch.arange(13) < torch.tensor([13, 13, 11, 7]).unsqueeze(1)
    features = {n: torch.randn(4, 13, d, generator=random) for n, d in widths.items()}
    valid = dict.fromkeys(widths, inside)
    labels = 2 * torch.rand(4, 13, 2, generator=random) - 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = torch.tensor(1.0)
    for _ in range(400):
        loss = affect_loss(model(features, valid, inside), labels, inside, LossSettings(mse=0))
        if loss < 0.02:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.02  # a CCC of 0.98 on labels that are pure chance: learnt by heart


# What each is by its nature


def test_the_perceptron_sees_one_row_and_the_others_see_more(name: str) -> None:
    features, valid, inside = batch(WIDTHS, [L, L, L])
    model = build(name, WIDTHS)
    changed = {n: x.clone() for n, x in features.items()}
    for n, x in changed.items():
        x[:, 5] += torch.where(valid[n][:, 5:6], 1.0, 0.0)
        valid[n][:, 5] = True
        x[:, 5] += 3
    before, after = model(features, valid, inside), model(changed, valid, inside)
    others = torch.arange(L) != 5
    assert not torch.allclose(before[:, 5], after[:, 5])
    assert torch.equal(before[:, others], after[:, others]) == (name == "mlp")


def test_a_one_way_lstm_does_not_see_the_future() -> None:
    features, valid, inside = batch(WIDTHS, [L, L, L])
    changed = {n: torch.cat([x[:, :6], x[:, 6:] + 1], 1) for n, x in features.items()}
    model = build("lstm", WIDTHS, bidirectional=False)
    before, after = model(features, valid, inside), model(changed, valid, inside)
    torch.testing.assert_close(before[:, :6], after[:, :6], **TIGHT)
    assert not torch.allclose(before[:, 6:], after[:, 6:])
    two_ways = build("lstm", WIDTHS, bidirectional=True)
    assert not torch.allclose(two_ways(features, valid, inside)[:, 0], two_ways(changed, valid, inside)[:, 0])


def torch_lstm(model: Lstm, width: int, layers: int) -> nn.LSTM:
    """torch's own LSTM with the weights of ours."""
    wanted = nn.LSTM(width, width, layers, batch_first=True, bidirectional=bool(model.backwards)).double()
    for layer in range(layers):
        for ours, suffix in ((model.forwards, ""), (model.backwards, "_reverse")):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if len(ours) else ():
                theirs = getattr(wanted, f"{part}_l{layer}{suffix}")
                theirs.data.copy_(getattr(ours[layer], f"{part}_l0"))
    return wanted


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_lstm_is_torchs_on_packed_sequences(layers: int, bidirectional: bool) -> None:
    model = build("lstm", WIDTHS, layers=layers, bidirectional=bidirectional)
    assert isinstance(model, Lstm)
    features, valid, inside = batch(WIDTHS)
    packed = nn.utils.rnn.pack_padded_sequence(model.inputs(features, valid), torch.tensor(LENGTHS), batch_first=True)
    hidden, _ = nn.utils.rnn.pad_packed_sequence(torch_lstm(model, 8, layers)(packed)[0], batch_first=True)
    torch.testing.assert_close(model(features, valid, inside)[inside], model.head(hidden)[inside], **TIGHT)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_lstm_drops_between_its_layers_as_torchs_does(layers: int) -> None:
    model = build("lstm", WIDTHS, layers=layers, dropout=0.5).train()
    assert isinstance(model, Lstm)
    fed: list[Tensor] = []
    for lstm in model.forwards:
        lstm.register_forward_hook(lambda _, inputs, out: fed.append(inputs[0]))
    features, valid, inside = batch(WIDTHS)
    model(features, valid, inside)
    # An LSTM's output is never exactly 0, so zeros are dropped ones: about half of those fed to a later layer.
    shares = [float((hidden == 0).double().mean()) for hidden in fed]
    assert len(shares) == layers
    assert shares[0] == 0
    assert all(0.3 < share < 0.7 for share in shares[1:])  # 3 * 11 * 16 fair coins: a standard deviation of 0.02


def test_rows_are_reversed_within_their_own_length() -> None:
    inside = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    hidden = torch.arange(15.0).view(3, 5, 1)
    back = reversed_rows(hidden, inside)
    assert back[..., 0].tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9], [10, 11, 12, 13, 14]]
    assert torch.equal(reversed_rows(back, inside), hidden)


def an_attention(width: int = 6, heads: int = 3) -> Attention:
    torch.manual_seed(2)
    return Attention(width, heads, dropout=0.0).double().eval()


def test_attention_equals_a_softmax_by_hand() -> None:
    attention, inside = an_attention(), torch.tensor([[True, True, True, True], [True, True, False, False]])
    random = torch.Generator().manual_seed(4)
    target = torch.randn(2, 5, 6, generator=random, dtype=torch.float64)
    source = torch.randn(2, 4, 6, generator=random, dtype=torch.float64)
    q, k, v = (x.detach() for x in (attention.query(target), attention.key(source), attention.value(source)))
    mixed = torch.zeros(2, 5, 6, dtype=torch.float64)
    for b in range(2):
        for head in range(3):
            d = slice(2 * head, 2 * head + 2)
            for i in range(5):
                scores = [
                    float(q[b, i, d] @ k[b, j, d]) / math.sqrt(2) if inside[b, j] else -math.inf for j in range(4)
                ]
                weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
                mixed[b, i, d] = sum((w * v[b, j, d] for j, w in enumerate(weights)), start=torch.zeros(2))
    torch.testing.assert_close(attention(target, source, inside), attention.out(mixed), **TIGHT)


def test_attention_equals_torchs_multi_head_attention() -> None:
    attention, random = an_attention(), torch.Generator().manual_seed(4)
    target = torch.randn(3, 5, 6, generator=random, dtype=torch.float64)
    source = torch.randn(3, 7, 6, generator=random, dtype=torch.float64)
    inside = torch.arange(7) < torch.tensor([7, 4, 1]).unsqueeze(1)
    parts = (attention.query, attention.key, attention.value)
    wanted, _ = F.multi_head_attention_forward(
        target.transpose(0, 1),
        source.transpose(0, 1),
        source.transpose(0, 1),
        6,
        3,
        torch.cat([part.weight for part in parts]),
        torch.cat([part.bias for part in parts]),
        None,
        None,
        False,
        0.0,
        attention.out.weight,
        attention.out.bias,
        training=False,
        key_padding_mask=~inside,  # torch's marks are the inverse of ours
        need_weights=False,
    )
    torch.testing.assert_close(attention(target, source, inside), wanted.transpose(0, 1), **TIGHT)


def test_the_encoder_layer_is_torchs_with_the_norm_first() -> None:
    torch.manual_seed(6)
    ours = AttentionLayer(6, 3, 11, dropout=0.0).double().eval()
    theirs = nn.TransformerEncoderLayer(6, 3, 11, 0.0, F.gelu, batch_first=True, norm_first=True).double().eval()
    parts = (ours.attention.query, ours.attention.key, ours.attention.value)
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
        }
        | {
            f"{name}.{part}": getattr(module, part)
            for name, module in {
                "self_attn.out_proj": ours.attention.out,
                "linear1": ours.hidden[0],
                "linear2": ours.hidden[3],
                "norm1": ours.norm_target,
                "norm2": ours.norm_hidden,
            }.items()
            for part in ("weight", "bias")
        }
    )
    target = torch.randn(3, 7, 6, dtype=torch.float64)
    inside = torch.arange(7) < torch.tensor([7, 4, 2]).unsqueeze(1)
    # With gradients on, torch takes its plain path and not the fused one.
    wanted = theirs(target, src_key_padding_mask=~inside)
    torch.testing.assert_close(ours(target, inside)[inside], wanted[inside], **TIGHT)


def test_positions_are_sines_and_cosines() -> None:
    positions = sinusoidal_positions(7, 6, torch.zeros((), dtype=torch.float64))
    for row in range(7):
        for pair in range(3):
            angle = row / 10000 ** (2 * pair / 6)
            assert float(positions[row, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-12)
            assert float(positions[row, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-12)


@pytest.mark.parametrize("name", ["selfattn", "crossattn"])
def test_attention_knows_where_a_row_stands(name: str) -> None:
    # Without positions, equal rows would be equal everywhere (away from the ends, where crossattn's convolution
    # meets the padding).
    features, _, inside = batch(WIDTHS, [L, L, L])
    still = {n: x.new_zeros(x.shape) for n, x in features.items()}
    out = build(name, WIDTHS)(still, dict.fromkeys(WIDTHS, inside), inside)
    assert not torch.allclose(out[:, 3], out[:, 7])


# Cross-modal attention


def crossed(**changes: Any) -> CrossAttention:
    model = build("crossattn", {"video": 5, "audio": 3}, **changes)
    assert isinstance(model, CrossAttention)
    return model


TWO = {"video": 5, "audio": 3}


def test_crossattn_has_a_stack_for_every_ordered_pair(widths: dict[str, int]) -> None:
    model = build("crossattn", widths)
    assert isinstance(model, CrossAttention)
    assert set(model.cross) == {f"{a}_to_{b}" for a in widths for b in widths if a != b}
    assert model.join.in_features == 4 * max(len(widths) * (len(widths) - 1), 1)


def test_depth_two_is_depth_one_with_a_second_layer_that_acts() -> None:
    features, valid, inside = batch(TWO)
    one, two = crossed(cross_layers=1), crossed(cross_layers=2, seed=13)
    missing, unexpected = two.load_state_dict(one.state_dict(), strict=False)
    assert not unexpected
    assert {key.split(".")[2] for key in missing} == {"1"}  # only the second layers are their own
    shallow, deep = one(features, valid, inside), two(features, valid, inside)
    assert ((shallow - deep).abs().amax(-1)[inside] > 1e-6).all()
    # The residual alone is left of a second layer that adds nothing: depth one again.
    with torch.no_grad():
        for stack in two.cross.values():
            for linear in (stack[1].attention.out, stack[1].hidden[3]):
                linear.weight.zero_()
                linear.bias.zero_()
    torch.testing.assert_close(two(features, valid, inside), shallow, **TIGHT)


def test_each_cross_layer_is_fed_by_the_one_before_and_looks_at_the_other_modality() -> None:
    features, valid, inside = batch(TWO)
    model = crossed(cross_layers=3)
    seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for name, stack in model.cross.items():
        for layer in stack:
            layer.register_forward_hook(
                lambda _, inputs, out, name=name: seen.setdefault(name, []).append((inputs[0], inputs[2], out))
            )
    joined: list[Tensor] = []
    model.join.register_forward_hook(lambda _, inputs, out: joined.append(inputs[0]))
    model(features, valid, inside)
    assert {name: len(calls) for name, calls in seen.items()} == {"audio_to_video": 3, "video_to_audio": 3}
    for name, other in (("audio_to_video", "video_to_audio"), ("video_to_audio", "audio_to_video")):
        calls = seen[name]
        for before, after in pairwise(calls):
            assert torch.equal(before[2], after[0])
        for _, source, _ in calls:  # MulT: always the source's low-level features, which the other stack starts from
            assert torch.equal(source, seen[other][0][0])
    for name in seen:
        assert any(torch.equal(seen[name][-1][2], part) for part in joined[0].split(4, -1)), name


@pytest.mark.parametrize("name", ["audio_to_video", "video_to_audio"])
@pytest.mark.parametrize("depth", [0, 1])
def test_every_cross_layer_matters(name: str, depth: int) -> None:
    features, valid, inside = batch(TWO)
    model = crossed(cross_layers=2)
    before = model(features, valid, inside)
    with torch.no_grad():
        model.cross[name][depth].attention.out.weight.mul_(-1)
    assert ((before - model(features, valid, inside)).abs().amax(-1)[inside] > 1e-6).all()


def test_one_modality_crosses_nothing() -> None:
    model = build("crossattn", {"audio": 3})
    assert isinstance(model, CrossAttention)
    assert len(model.cross) == 0
    assert model.join.in_features == 4


# Inputs and options


def test_a_missing_row_is_a_learned_vector_and_any_other_itself() -> None:
    inputs = Inputs({"video": 3, "audio": 2})
    assert {name: vector.tolist() for name, vector in inputs.missing.items()} == {
        "video": [0.0] * 3,
        "audio": [0.0] * 2,
    }
    with torch.no_grad():
        inputs.missing["video"].copy_(torch.tensor([7.0, 8.0, 9.0]))
    features = {"video": torch.tensor([[[1.0, 2.0, 3.0], [torch.nan] * 3]]), "audio": torch.ones(1, 2, 2)}
    out = inputs(features, {"video": torch.tensor([[True, False]]), "audio": torch.tensor([[True, True]])})
    assert out["video"].tolist() == [[[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]]
    assert torch.equal(out["audio"], features["audio"])


def test_every_option_of_the_registry_builds_and_takes_effect(name: str) -> None:
    defaults = MODELS[name].options
    assert resolve_options(name, {}) == defaults
    first = build_model(name, WIDTHS, {})
    sizes = sum(p.numel() for p in first.parameters())
    changed = {
        "width": 96,
        "layers": 3,
        "cross_layers": 2,
        "heads": 2,
        "feedforward": 67,
        "dropout": 0.125,
        "bidirectional": False,
    }
    for option in defaults:
        other = build_model(name, WIDTHS, {option: changed[option]})
        if option == "dropout":
            assert {m.p for m in other.modules() if isinstance(m, nn.Dropout)} == {0.125}
            assert {m.dropout for m in other.modules() if isinstance(m, Attention)} <= {0.125}
        elif option == "heads":
            assert {m.heads for m in other.modules() if isinstance(m, Attention)} == {2}
        else:
            assert sum(p.numel() for p in other.parameters()) != sizes, option


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"model 'selfatn' is not known; there are mlp, .*did you mean selfattn\?"):
        resolve_options("selfatn", {})
    with pytest.raises(ValueError, match="model 'quux' is not known; there are mlp, lstm"):
        resolve_options("quux", {})


def test_an_unknown_option_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=rf"model {name} has no option 'widht'; it has .*did you mean width\?"):
        resolve_options(name, {"widht": 7})
    with pytest.raises(ValueError, match="has no option 'widht'"):
        build_model(name, WIDTHS, {"widht": 7})


@pytest.mark.parametrize(
    ("model", "option", "value", "wanted"),
    [
        ("lstm", "width", "64", "int"),
        ("lstm", "width", 64.0, "int"),
        ("lstm", "layers", True, "int"),
        ("lstm", "bidirectional", 1, "bool"),
        ("mlp", "dropout", "0.1", "float"),
        ("mlp", "dropout", None, "float"),
        ("mlp", "dropout", False, "float"),
        ("lstm", "layers", 0, "1 or more"),
        ("selfattn", "heads", 0, "1 or more"),
        ("crossattn", "cross_layers", -1, "1 or more"),
    ],
)
def test_a_wrong_value_is_refused(model: str, option: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"option {option} of model {model} is {value!r}; wanted {wanted}"):
        resolve_options(model, {option: value})


@pytest.mark.parametrize("dropout", [1.0, 1, -0.1, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(name: str, dropout: float) -> None:
    with pytest.raises(ValueError, match=f"dropout of model {name} is .*; wanted at least 0 and less than 1"):
        resolve_options(name, {"dropout": dropout})


def test_a_whole_number_for_a_share_is_the_same_share(name: str) -> None:
    found = resolve_options(name, {"dropout": 0})["dropout"]
    assert (found, type(found)) == (0.0, float)  # so that 0 and 0.0 are one experiment with one digest


@pytest.mark.parametrize("model", ["selfattn", "crossattn"])
def test_a_width_is_either_refused_or_builds_a_model_that_runs(model: str) -> None:
    features, valid, inside = batch(WIDTHS)
    built = 0
    for width in range(1, 17):
        for heads in (1, 2, 3, 5):
            options = small_options(model, width=width, heads=heads)
            try:
                resolve_options(model, options)
            except ValueError as error:
                assert f"model {model} has {heads} heads for a width of {width}; wanted a width that" in str(error)  # noqa: PT017
                continue
            assert build_model(model, WIDTHS, options).double()(features, valid, inside).isfinite().all()
            built += 1
    assert built == {"selfattn": 8 + 8 + 2 + 1, "crossattn": 4 + 4 + 1 + 0}[model]


def test_the_four_models_are_what_their_names_say() -> None:
    kinds = {"mlp": Mlp, "lstm": Lstm, "selfattn": SelfAttention, "crossattn": CrossAttention}
    for name, kind in kinds.items():
        assert type(build_model(name, WIDTHS, small_options(name))) is kind
