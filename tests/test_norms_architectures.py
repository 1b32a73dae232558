"""Networks as people build them, against what their forward pass multiplies by."""

import warnings

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer

from scalinglaw.exceptions import UncountedParameterWarning
from scalinglaw.norms import compute_norms


class Multiplications(TorchFunctionMode):
    """Every weight that an operation of torch multiplies activations by."""

    def __init__(self, net):
        super().__init__()
        self.net, self.matrices = net, {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "linear" or name.startswith("conv"):
            self._keep(name, args[1] if len(args) > 1 else kwargs["weight"], args)
        elif name in ("addmm", "matmul", "__matmul__", "mm"):
            weight = args[-1]
            if isinstance(weight, nn.Parameter):
                self._keep(name, weight.T, args)
        elif name == "multi_head_attention_forward":
            packed = args[5] if len(args) > 5 else kwargs["in_proj_weight"]
            for part in (*packed.chunk(3), args[11]):
                self._keep(name, part, args)
        return func(*args, **kwargs)

    def _keep(self, name, weight, args):
        groups = args[6] if name.startswith("conv") and len(args) > 6 else 1
        if "transpose" in name:
            weight = weight.transpose(0, 1)
        for block in weight.flatten(1).chunk(groups):
            # What a parametrization makes has other memory at each call: kept alive.
            self.matrices.setdefault(block.data_ptr(), (groups, weight, block))

    def log_product(self, fused):
        """Sum of the logs of the largest singular values, layer by layer."""
        tops = {}
        for groups, weight, block in self.matrices.values():
            thirds = 3 if len(block) in fused else 1
            for third in block.chunk(thirds):
                top = torch.linalg.matrix_norm(third.double(), 2).log().item()
                # The blocks of a grouped convolution are one matrix.
                key = weight.data_ptr() if groups > 1 else third.data_ptr()
                tops[key] = max(top, tops.get(key, -float("inf")))
        return sum(tops.values())


class Attention(nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(x).view(n, length, 3, self.num_heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(n, length, width))


class Conformer(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2)
        self.feed = nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.Linear(16, width))
        self.pointwise = nn.Conv1d(width, 2 * width, 1)
        self.depthwise = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.batch, self.out = nn.BatchNorm1d(width), nn.Conv1d(width, width, 1)

    def forward(self, x):
        x = x + self.feed(x) / 2
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed)[0]
        gated = functional.glu(self.pointwise(x.transpose(1, 2)), dim=1)
        return x + self.out(self.batch(self.depthwise(gated))).transpose(1, 2)


class Routed(nn.Module):
    """A mixture of experts, each a module."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return (outputs * weights[..., None, :]).sum(-1)


class Fused(nn.Module):
    """A mixture of experts in one tensor."""

    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(8, 3), nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, x):
        return torch.einsum("ne,eoi,ni->no", self.gate(x).softmax(-1), self.up, x)


class Fourier(nn.Module):
    """A layer of a Fourier neural operator."""

    def __init__(self):
        super().__init__()
        self.modes = nn.Parameter(torch.randn(4, 4, 3, dtype=torch.cfloat))
        self.lift, self.skip = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 4, 1)

    def forward(self, x):
        x = self.lift(x)
        spectrum = torch.fft.rfft(x)
        low = torch.einsum("nik,iok->nok", spectrum[..., :3], self.modes)
        return self.skip(x) + torch.fft.irfft(low, n=x.shape[-1])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.middle, self.up = (
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ConvTranspose2d(6, 4, 2, 2),
        )
        self.out = nn.Conv2d(5, 2, 1)

    def forward(self, x):
        up = self.up(torch.relu(self.middle(torch.relu(self.down(x)))))
        return self.out(torch.cat([x, up], dim=1))


class Graph(nn.Module):
    """Graph convolutions, by layers or by bare matrices."""

    def __init__(self, bare):
        super().__init__()
        self.register_buffer("adjacency", torch.rand(5, 5))
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)
        self.weight = nn.Parameter(torch.randn(6, 6)) if bare else None

    def forward(self, x):
        x = torch.relu(self.adjacency @ self.first(x))
        if self.weight is not None:
            x = torch.relu(self.adjacency @ torch.matmul(x, self.weight))
        return self.adjacency @ self.last(x)


class Rwkv(nn.Module):
    """Mixing over time by decays for each channel."""

    def __init__(self, width=8):
        super().__init__()
        self.mix, self.decay = (nn.Parameter(torch.rand(1, 1, width)) for _ in "md")
        self.receptance, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in "rkvo"
        )

    def forward(self, x):
        past = functional.pad(x, (0, 0, 1, -1))
        x = x * self.mix + past * (1 - self.mix)
        weights = torch.exp(self.key(x) * self.decay).cumsum(dim=1)
        return self.output(torch.sigmoid(self.receptance(x)) * self.value(x) / weights)


class Separable(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1)
        )


class Tied(nn.Module):
    """A language model whose output is its embedding, as a layer or by hand."""

    def __init__(self, by_hand):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(11, 8), nn.Linear(8, 8)
        self.head = None if by_hand else nn.Linear(8, 11, bias=False)
        if self.head is not None:
            self.head.weight = self.embedding.weight

    def forward(self, x):
        x = torch.relu(self.hidden(self.embedding(x)))
        if self.head is None:
            return functional.linear(x, self.embedding.weight)
        return self.head(x)


class Vgg(nn.Sequential):
    """Weights behind parametrizations."""

    def __init__(self):
        super().__init__(
            weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(), weight_norm(nn.Linear(36, 5))
        )


def _swin():
    return SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=5)


def _vision_transformer():
    net = models.VisionTransformer(32, 16, 2, 2, 8, 16, num_classes=5)
    nn.init.xavier_uniform_(net.heads.head.weight)
    return net


def _gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=6, n_embd=8, n_layer=2, n_head=2
    )
    net = transformers.GPT2LMHeadModel(config)
    return _First(net)


class _First(nn.Module):
    """The logits of a model of transformers."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).logits


TOKENS = torch.arange(6)[None]
IMAGE, SEQUENCE = (1, 3, 64, 64), (2, 5, 8)
# Builder, input, outputs of layers that stand for query, key and value.
COUNTED = {
    "MobileNet V3": (models.mobilenet_v3_small, IMAGE, ()),
    "ShuffleNet V2": (models.shufflenet_v2_x0_5, IMAGE, ()),
    "SqueezeNet": (models.squeezenet1_0, IMAGE, ()),
    "EfficientNet": (models.efficientnet_b0, IMAGE, ()),
    "Vision transformer": (_vision_transformer, (1, 3, 32, 32), ()),
    "fused qkv": (Attention, SEQUENCE, (24,)),
    "Conformer-like": (Conformer, SEQUENCE, ()),
    "mixture of experts": (Routed, (4, 8), ()),
    "U-Net": (UNet, (1, 1, 8, 8), ()),
    "graph convolution": (lambda: Graph(False), (5, 8), ()),
    "RWKV-like": (Rwkv, SEQUENCE, ()),
    "depthwise separable": (Separable, (1, 4, 6, 6), ()),
    "tied embedding": (lambda: Tied(False), TOKENS, ()),
    "weight norm": (Vgg, (1, 3, 5, 5), ()),
    "spectral norm": (lambda: spectral_norm(nn.Linear(8, 5)), (2, 8), ()),
    "GPT-2 of transformers": (_gpt2, TOKENS, (24,)),
}
# Builder, input, what the warning names; the rest of the weights is counted.
NAMED = {
    "Swin transformer": (_swin, IMAGE, (24, 48), "relative_position_bias_table"),
    "fused experts": (Fused, (4, 8), (), "up of shape (3, 8, 8)"),
    "Fourier neural operator": (Fourier, (2, 1, 8), (), "modes of shape (4, 4, 3)"),
}
# Builder, input, name and shape of the matrix that is left out.
LEFT_OUT = {
    "graph convolution, bare": (lambda: Graph(True), (5, 8), "weight of shape (6, 6)"),
    "tied embedding by hand": (lambda: Tied(True), TOKENS, "its embedding 'embedding'"),
}


def _read(net, shape):
    """What the forward pass multiplies by."""
    x = shape if isinstance(shape, torch.Tensor) else torch.randn(*shape)
    with torch.no_grad(), Multiplications(net) as seen:
        net(x)
    return seen


def _product(net):
    return compute_norms(net, ["spectral_product"])["spectral_product"]


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.filterwarnings("error::scalinglaw.exceptions.UncountedParameterWarning")
def test_the_matrices_are_those_that_the_forward_pass_multiplies_by(name):
    build, shape, fused = COUNTED[name]
    torch.manual_seed(0)
    net = build().eval()
    expected = _read(net, shape).log_product(fused)
    assert_allclose(_product(net), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_layer_is_named_and_the_rest_is_counted(name):
    build, shape, fused, word = NAMED[name]
    torch.manual_seed(0)
    net = build().eval()
    expected = _read(net, shape).log_product(fused)
    with pytest.warns(UncountedParameterWarning) as said:
        assert_allclose(_product(net), expected, rtol=0, atol=2e-5)
    assert all(word in str(warning.message) for warning in said)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_matrix_that_is_left_out_is_named(name):
    build, shape, word = LEFT_OUT[name]
    torch.manual_seed(0)
    net = build().eval()
    seen = _read(net, shape)
    with pytest.warns(UncountedParameterWarning) as said:
        value = _product(net)
    assert word in str(said[0].message)
    assert abs(value - seen.log_product(())) > 0.1


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_networks_are_refused_by_name(kind):
    net = nn.Sequential(nn.Linear(3, 4), kind(4, 5))
    with pytest.raises(ValueError, match=f"'1' is a {kind.__name__}.*'frobenius'"):
        _product(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_norms(net, ["frobenius", "l1"])
